extern int exported_log(const char *text);
__attribute__((section(".init.text"))) int setup(void) { return exported_log("two"); }
int runtime(int n) { return n; }
