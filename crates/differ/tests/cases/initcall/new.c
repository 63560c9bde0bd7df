int fixed(int n) { return n + 2; }
static int __attribute__((section(".init.text"))) setup(void) { return 0; }
__asm__(".section .initcall6.init,\"a\"\n.long setup - .\n.previous");
static void *keep __attribute__((used, section(".discard.addressable"))) = setup;
