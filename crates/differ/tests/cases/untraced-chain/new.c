extern int hidden(int n);
static __attribute__((no_instrument_function, noinline)) int fixed(int n) { return hidden(n + 1); }
static __attribute__((no_instrument_function, noinline)) int between(int n) { return fixed(n) + 1; }
int outer(int n) { return between(n) * 2; }
