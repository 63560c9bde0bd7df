extern int exported_log(const char *text);
int other(void) { static int count; return ++count; }
int fixed(int n) { static int fresh; static int count; static int limit = 7; if (n > limit) return ++fresh; if (n < 0) return 0; return ++count; }
