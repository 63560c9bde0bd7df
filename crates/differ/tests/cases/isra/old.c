extern int hidden(int n);
struct pair { int used, other; };
__attribute__((noinline)) static int work(struct pair *pair, int n) { int factor = pair->used, i, sum = 0; for (i = 0; i < n; i++) sum += hidden(i) * factor; return sum * 3; }
int one(struct pair *pair, int n) { return work(pair, n) + work(pair, n + 1); }
