extern int exported_log(const char *text);
extern int hidden(int n);
extern int exported_call(int (*callback)(int), int n);
static int hits = 40;
static const char *const names[] = { "zero", "one", "two", "three" };
__attribute__((noinline)) static int twice(int n) { return n * 2; }
__attribute__((noinline)) int helper(int n) { hits += n; return hits; }
int fixed(int n)
{
	static int calls;
	calls++;
	exported_log(names[n & 3]);
	return helper(n) + calls;
}
int untouched(int n) { return twice(n) + hits; }
