extern int exported_log(const char *text);
#define WARN_AT(format, line) __asm__ volatile("lea 2f(%%rip), %%rdi\n1: ud2\n.pushsection __bug_table,\"aw\"\n2: .long 1b - .\n.long %c0 - .\n.long %c1 - .\n.word %c2\n.word 7\n.org 2b+16\n.popsection" :: "i"(format), "i"(__FILE__), "i"(line) : "rdi")
int untouched(int n) { if (n) WARN_AT("too many: %d", 4); return n; }
int reworded(int n) { if (n) WARN_AT("too few now: %d", 9); return n; }
int fixed(int n) { if (n > 3) WARN_AT("too odd: %d", 10); return n + 1; }
