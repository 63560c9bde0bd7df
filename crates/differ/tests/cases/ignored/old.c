extern int exported_log(const char *text, int n);
static const char *const texts[] __attribute__((used, section(".rodata.boot_texts"))) = { "boot1" };
__attribute__((noinline)) static int probe(int n) { return exported_log(texts[0], n * 1); }
int fixed(int n) { return probe(n) + 1; }
