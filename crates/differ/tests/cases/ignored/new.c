extern int exported_log(const char *text, int n);
static const char *const texts[] __attribute__((used, section(".rodata.boot_texts"))) = { "boot2" };
__attribute__((noinline)) static int probe(int n) { return exported_log(texts[0], n * 2); }
int fixed(int n) { return probe(n) + 2; }
static const void *const keep_probe
	__attribute__((used, section(".suture.ignore.functions"))) = probe;
static const char *const keep_texts
	__attribute__((used, section(".suture.ignore.sections"))) = ".rodata.boot_texts";
