int same(int n) { return n + 1; }
__asm__(".section \"___ksymtab+same\",\"a\"\n__ksymtab_same: .long same - .\n.long 0\n.long 0\n.previous");
