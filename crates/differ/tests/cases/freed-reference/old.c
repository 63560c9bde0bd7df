extern int hidden(int n);
__attribute__((section(".init.data"))) int boot_value = 3;
int fixed(int n) { return hidden(n); }
int other(int n) { return boot_value; }
