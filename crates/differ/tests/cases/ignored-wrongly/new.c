int fixed(int n) { return n * 2; }
extern int exported_log(const char *text, int n);
__attribute__((noinline)) static int fresh(int n) { return exported_log("fresh", n); }
int calls(int n) { return fresh(n); }
static const void *const keep_fresh
	__attribute__((used, section(".kpatch.ignore.functions"))) = fresh;
static const char *const keep_texts
	__attribute__((used, section(".kpatch.ignore.sections"))) = ".rodata.nothing";
