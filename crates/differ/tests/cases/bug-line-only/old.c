#define BUG_AT(line) __asm__ volatile("1: ud2\n.pushsection __bug_table,\"aw\"\n2: .long 1b - .\n.long %c0 - .\n.word %c1\n.word 0\n.org 2b+12\n.popsection" :: "i"(__FILE__), "i"(line))
int untouched(int n) { if (n) BUG_AT(3); return n; }
