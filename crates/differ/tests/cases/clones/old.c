extern int hidden(int n);
__attribute__((noinline)) static int work(int kind, int n) { int i, sum = 0; for (i = 0; i < n; i++) sum += hidden(i) * kind; return sum * 3; }
int one(int n) { return work(1, n) + work(1, n + 1); }
