extern struct key { long state; } __SCK__hidden;
#define CALL(key) __asm__ volatile("1: .byte 0x0f,0x1f,0x44,0x00,0x00\n.pushsection .static_call_sites,\"aw\"\n.long 1b - .\n.long %c0 - .\n.popsection" :: "i"(&key))
int keyed(int n) { CALL(__SCK__hidden); return n + 1; }
