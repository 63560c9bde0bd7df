extern int hidden(int n), exported_use(int (*function)(int));
static __attribute__((noinline)) int inlined_same(int n) { return hidden(n) + 1; }
static __attribute__((noinline)) int inlined_changed(int n) { return hidden(n * 3) + 2; }
int fixed(int n) { return inlined_same(n) + inlined_changed(n + 1); }
