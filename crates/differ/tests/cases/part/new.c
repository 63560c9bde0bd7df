extern int hidden(int n);
static int work(int n) { int i, sum = 0; if (!n) return 0; for (i = 0; i < n; i++) { sum += hidden(i) * hidden(i + 1) * hidden(i + 2); if (hidden(sum)) sum -= hidden(i + 4) + hidden(i + 5); else sum = hidden(sum * 7); } return sum * 5; }
int one(int n) { return work(n) + work(n + 1) + work(n + 5); }
int two(int n) { return work(n + 2) + work(n + 3) + work(n + 7); }
