extern int hidden(int n);
int same(int n) { return hidden(n) + hidden(n + 1); }
int fixed(int n) { return hidden(n); }
