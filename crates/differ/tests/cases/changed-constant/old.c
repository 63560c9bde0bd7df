struct operations { int (*read)(int); };
extern int exported_use(const struct operations *);
static int read_it(int n) { return n; }
int write_it(int n) { return n + 1; }
const struct operations operations = { read_it };
int user(int n) { return exported_use(&operations) + n; }
