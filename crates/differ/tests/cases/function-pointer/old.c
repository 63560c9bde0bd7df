extern void exported_register(int (*callback)(int));
__attribute__((noinline)) static int callback(int n) { return n * 3; }
int direct(int n) { return callback(n) + 1; }
void fixed(int n) { exported_register(callback); }
