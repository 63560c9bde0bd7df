extern int hidden(int n);
int fixed(int n) { return hidden(n + 1); }
