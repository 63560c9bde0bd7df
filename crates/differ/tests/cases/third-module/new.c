extern int journal_stop(int n);
extern int hidden(int n);
static int fallback(int n) { return n; }
int (*hook)(int) = fallback;
int fixed(int n) { return journal_stop(n) + hidden(n) + hook(n + 1); }
