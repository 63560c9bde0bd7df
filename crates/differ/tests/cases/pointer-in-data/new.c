extern int exported_register(const void *operations);
struct operations { int (*open)(int n); int (*close)(int n); };
int opened(int n) { return n + 2; }
static int closed(int n) { return n + 3; }
static const struct operations fresh = { .open = opened, .close = closed };
int fixed(int n) { return exported_register(&fresh); }
