extern int exported_log(const char *text);
int first(int n) { return exported_log(__func__); }
int fixed(int n) { return exported_log(__func__) + n + 1; }
