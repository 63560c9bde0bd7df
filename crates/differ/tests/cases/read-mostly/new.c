extern int exported_log(const char *text);
static int limit __attribute__((section(".data..read_mostly"))) = 7;
static int other __attribute__((section(".data..read_mostly"))) = 8;
int set(int n) { limit = n; return other++; }
int fixed(int n) { static int said __attribute__((section(".data.once"))); if (n > limit && !said) { said = 1; return exported_log("over"); } return n + other; }
