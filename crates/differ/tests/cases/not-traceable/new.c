extern int hidden(int n);
__attribute__((no_instrument_function)) int fixed(int n) { return hidden(n + 1); }
