extern int hidden(int n);
__attribute__((weak)) int fixed(int n) { return hidden(n); }
