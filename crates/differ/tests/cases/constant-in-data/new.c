struct rule { unsigned char type, length; };
struct user { const struct rule *rules; };
extern int exported_keep(const struct rule *rules);
static const struct rule rules[3] = { { 1, 4 }, { 1, 16 }, { 3, 0 } };
static struct user user = { rules };
extern int exported_register(struct user *user);
int keep(void) { return exported_register(&user); }
