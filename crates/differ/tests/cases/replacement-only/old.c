#define ALTERNATIVE(code) __asm__ volatile("661: .byte 0x90,0x90,0x90,0x90,0x90\n662:\n.pushsection .altinstructions,\"a\"\n.long 661b - .\n.long 663f - .\n.word 7\n.byte 662b-661b\n.byte 664f-663f\n.popsection\n.pushsection .altinstr_replacement,\"ax\"\n663: " code "\n664:\n.popsection")
int fixed(int n) { ALTERNATIVE("mov $1, %eax"); return n; }
