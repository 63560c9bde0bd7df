extern int hidden(int n), exported_use(int (*function)(int));
static int inlined_missing(int n) { return hidden(n) + 1; }
int fixed(int n) { return exported_use(inlined_missing) + n + 1; }
