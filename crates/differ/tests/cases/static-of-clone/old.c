extern int hidden(int n);
__attribute__((noinline)) static int bump(int kind, int n) { static int count; count += hidden(n) * kind; return count; }
int one(int n) { return bump(3, n); }
int two(int n) { return bump(3, n + 1); }
