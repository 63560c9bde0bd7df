struct rule { unsigned char type, length; };
extern int __nla_parse(void *tb, int max, const void *head, int len, const struct rule *rules,
		       unsigned int strict, void *extack);
extern int exported_use(void *tb);
static const struct rule rules[3] = { { 1, 4 }, { 3, 16 }, { 2, 0 } };
static const int weights[5] = { 1, 2, 4, 9, 16 };
int parse(const void *message, int len)
{
	void *tb[3];
	int error = __nla_parse(tb, 2, message, len, rules, 31, 0);

	return error ? error : exported_use(tb);
}
int weigh(unsigned int kind) { return kind < 5 ? weights[kind] : 0; }
int sum(void)
{
	int all = 0;

	for (const int *one = weights; one != weights + 5; one++)
		all += exported_use((void *)(long)*one);
	return all;
}
int untouched(int n) { return n + 1; }
