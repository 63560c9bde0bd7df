int fixed(int n) { __asm__ volatile("1: nop\n.pushsection .odd_table,\"a\"\n.long 1b - .\n.popsection"); return n + 1; }
