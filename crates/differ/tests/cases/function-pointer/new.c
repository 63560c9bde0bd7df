extern void exported_register(int (*callback)(int));
__attribute__((noinline)) static int callback(int n) { return n * 5; }
int direct(int n) { return callback(n) + 2; }
void fixed(int n) { if (n) exported_register(callback); }
