extern int exported_log(const char *text);
#define WARN_ONCE(text) do { static char __attribute__((section(".data.once"))) __already_done; if (!__already_done) { __already_done = 1; exported_log(text); } } while (0)
int first(int n) { WARN_ONCE("first"); return n; }
int fixed(int n) { WARN_ONCE("fixed"); return n; }
