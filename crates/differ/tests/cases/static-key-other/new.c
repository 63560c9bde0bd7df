extern struct key { long state; } __tracepoint_hit, hidden_key;
extern int exported_log(const char *text);
#define BRANCH(key) __asm__ goto("1: .byte 0x0f,0x1f,0x44,0x00,0x00\n.pushsection __jump_table,\"aw\"\n.balign 8\n.long 1b - .\n.long %l[yes] - .\n.quad %c0 - .\n.popsection" :: "i"(&key) :: yes)
int fixed(int n) { BRANCH(__tracepoint_hit); return n; yes: return exported_log("hit"); }
int keyed(int n) { BRANCH(hidden_key); return n + 1; yes: return exported_log("on"); }
