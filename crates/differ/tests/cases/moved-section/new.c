extern int hidden(int n);
__attribute__((section(".noinstr.text"))) int fixed(int n) { return hidden(n); }
