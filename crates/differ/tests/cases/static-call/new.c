extern struct key { long state; } __SCK__tp_func_hit, __SCK__hidden;
extern int __SCT__tp_func_hit(int n);
#define CALL(key) __asm__ volatile("1: call __SCT__tp_func_hit\n.pushsection .static_call_sites,\"aw\"\n.long 1b - .\n.long %c0 - .\n.popsection" :: "i"(&key))
int fixed(int n) { CALL(__SCK__tp_func_hit); return n + 1; }
int keyed(int n) { CALL(__SCK__hidden); return n; }
