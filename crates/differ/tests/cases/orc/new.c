#define ORC() __asm__ volatile("1:\n.pushsection .orc_unwind_ip,\"a\"\n.long 1b - .\n.popsection\n.pushsection .orc_unwind,\"a\"\n.byte 1,2,3,4,5,6\n.popsection")
int first(int n) { ORC(); ORC(); return n; }
int fixed(int n) { ORC(); ORC(); ORC(); return n + 1; }
