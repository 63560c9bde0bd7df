struct operations { int (*read)(int); };
extern int exported_use(const struct operations *);
static int read_it(int n) { return n; }
static const struct operations operations = { read_it };
int fixed(int n) { return exported_use(&operations) + n; }
