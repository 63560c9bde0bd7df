int fixed(int n) { return n + 2; }
__asm__(".section \"___ksymtab+fixed\",\"a\"\n__ksymtab_fixed: .long fixed - .\n.long 0\n.long 0\n.previous");
