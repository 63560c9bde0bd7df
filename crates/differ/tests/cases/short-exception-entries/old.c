extern int exported_log(const char *text);
extern int hidden(int n);
#define BUG_AT(line) __asm__ volatile("1: ud2\n.pushsection __bug_table,\"aw\"\n2: .long 1b - .\n.long %c0 - .\n.word %c1\n.word 0\n.org 2b+12\n.popsection" :: "i"(__FILE__), "i"(line))
#define LOCKED(x) __asm__ volatile(".pushsection .smp_locks,\"a\"\n.balign 4\n.long 671f - .\n.popsection\n671: lock; incl %0" : "+m"(x))
#define FIXUP(x) __asm__ volatile("1: mov (%0), %%al\n2:\n.pushsection __ex_table,\"a\"\n.balign 4\n.long 1b - .\n.long 2b - .\n.popsection" :: "r"(x) : "al")
#define ALTERNATIVE() __asm__ volatile("661: .byte 0x90,0x90,0x90,0x90,0x90\n662:\n.pushsection .altinstructions,\"a\"\n.long 661b - .\n.long 663f - .\n.word 7\n.byte 662b-661b\n.byte 664f-663f\n.popsection\n.pushsection .altinstr_replacement,\"ax\"\n663: call hidden\n664:\n.popsection")
static int lock;
int untouched(int n) { if (n) BUG_AT(3); LOCKED(lock); FIXUP(&lock); ALTERNATIVE(); return n; }
int fixed(int n) { if (n) BUG_AT(4); LOCKED(lock); FIXUP(&lock); ALTERNATIVE(); return n; }
