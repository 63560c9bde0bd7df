extern int exported_log(const char *text);
int other(void) { static int count; return ++count; }
int fixed(int n) { static int count; static int limit = 7; if (n > limit) return 0; return ++count; }
