extern int hidden(int n);
static __attribute__((no_instrument_function, noinline)) int fixed(int n) { return hidden(n); }
int one(int n) { return fixed(n) + 1; }
__attribute__((section(".init.text"))) int boot(int n) { return fixed(n) * 2; }
