extern int hidden(int n);
__attribute__((section(".data..percpu"))) static int counter;
int fixed(int n) { counter++; return hidden(n) + counter; }
