extern int hidden(int n);
__attribute__((noinline)) static int helper(int n) { return hidden(n) - 5; }
__attribute__((noinline)) static int between(int n) { return helper(n) * 7; }
__attribute__((no_instrument_function, noinline)) static int fixed(int n) { return between(n) * 3; }
int one(int n) { return fixed(n) + 1; }
int jumps(int n) { return fixed(n); }
