extern int hidden(int n);
struct regs { long a; };
__attribute__((no_instrument_function, noinline)) static long __do_sys_open(int n) { return hidden(n) + 2; }
long __x64_sys_open(const struct regs *regs) { return __do_sys_open(regs->a); }
