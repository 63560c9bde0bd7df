extern int exported_register(const void *operations);
struct operations { int (*open)(int n); int (*close)(int n); };
int opened(int n) { return n + 1; }
int fixed(int n) { return exported_register(0); }
