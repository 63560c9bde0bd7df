#define ORC() __asm__ volatile("1:\n.pushsection .orc_unwind_ip,\"a\"\n.long 1b - .\n.popsection\n.pushsection .orc_unwind,\"a\"\n.byte 1,2,3,4,5,6\n.popsection")
extern int hidden(int n);
#define SCHED __attribute__((section(".sched.text"), noinline))
SCHED int first(int n) { if (n > 100) return hidden(n * 3 + 1) * 5; return hidden(n); }
SCHED int second(int n) { ORC(); return first(n) + hidden(n + 2); }
SCHED int third(int n) { return second(n) * 2 + first(n); }
