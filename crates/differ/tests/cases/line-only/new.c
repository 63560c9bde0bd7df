extern void __might_sleep(const char *file, int line);
extern int exported_log(const char *text, int n);
int untouched(int n) { __might_sleep("unit.c", 43); return n; }
int fixed(int n) { exported_log("unit.c", 43); return n; }
int also_fixed(int n) { if (n == 43) __might_sleep("unit.c", 7); return n; }
