extern int exported_register(void *function);
int callback(int n) { return n + 1; }
int fixed(int n) { return n; }
