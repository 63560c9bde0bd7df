extern int exported_log(const char *text);
extern int hidden(int n);
extern int exported_call(int (*callback)(int), int n);
static int hits = 40;
static const char *const names[] = { "zero", "one", "two", "three" };
static const char *const fresh[] = { "a", "fresh", "set", "of", "names" };
static int added = 7;
__attribute__((noinline)) static int twice(int n) { return n * 2; }
__attribute__((noinline)) int helper(int n) { hits += n; return hits; }
__attribute__((noinline)) static int thrice(int n) { return n * 3 + added++; }
__attribute__((noinline, cold)) static void complain(int n) { exported_log(n < -5 ? "far too small" : "too small"); }
int fixed(int n)
{
	static int calls;
	double_check: ;
	static double ratio = 2.5;
	calls++;
	if (__builtin_expect(n < 0, 0)) {
		complain(n);
		n = -n;
		goto double_check;
	}
	exported_log(names[n & 3]);
	exported_log(fresh[n % 5]);
	exported_log(__func__);
	ratio += n;
	return helper(n) * 1000 + calls * 100 + exported_call(twice, n) + exported_call(thrice, n) + hidden(n) + (int)ratio;
}
int untouched(int n) { return twice(n) + hits; }
