#define ALTERNATIVE() __asm__ volatile("661: call journal_stop\n662:\n.pushsection .altinstructions,\"a\"\n.long 661b - .\n.long 663f - .\n.word 7\n.byte 662b-661b\n.byte 664f-663f\n.popsection\n.pushsection .altinstr_replacement,\"ax\"\n663: nop\n664:\n.popsection")
int fixed(int n) { ALTERNATIVE(); return n + 1; }
