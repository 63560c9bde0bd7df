extern int hidden(int n);
#define SCHED __attribute__((section(".sched.text"), noinline))
SCHED int first(int n) { return hidden(n); }
SCHED int second(int n) { return first(n) + hidden(n + 2); }
SCHED int third(int n) { return second(n) * 2 + first(n); }
