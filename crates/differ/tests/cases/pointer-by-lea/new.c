extern int exported_register(void *function);
int callback(int n) { return n + 2; }
int fixed(int n) { void *address; __asm__("lea callback(%%rip), %0" : "=r"(address)); return exported_register(address); }
