extern int hidden(int n);
__attribute__((no_instrument_function, noinline)) static int fixed(int n) { return hidden(n) * 3; }
int one(int n) { return fixed(n) + 1; }
int jumps(int n) { return fixed(n); }
__attribute__((no_instrument_function)) int untraced(int n) { return fixed(n); }
