struct rule { unsigned char type, length; };
struct user { const struct rule *rules; };
extern int exported_keep(const struct rule *rules);
static const struct rule rules[3] = { { 1, 4 }, { 1, 16 }, { 2, 0 } };
int keep(int n)
{
	const struct rule *volatile one = rules + n;

	exported_keep(0);
	return one->length;
}
