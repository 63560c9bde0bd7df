extern void __might_sleep(const char *file, int line);
extern void __btrfs_panic(void *info, const char *function, unsigned int line, int error, const char *text);
extern int exported_log(const char *text, int n);
int untouched(int n) { __might_sleep("unit.c", 40); return n; }
int saves_registers(int a, int b, int c, int d, int e, int f)
{
	__might_sleep("unit.c", 40);
	int sum = exported_log("a", a) + b;
	sum += exported_log("c", c) + d;
	return sum + exported_log("e", e) + f + a * c;
}
void panics(void *info) { __btrfs_panic(info, __func__, 40, -5, "no memory"); }
int fixed(int n) { exported_log("unit.c", 40); return n; }
int also_fixed(int n) { if (n == 40) __might_sleep("unit.c", 7); return n; }
extern void __might_fault(unsigned long file, int line);
void line_used_twice(void)
{
	asm volatile("mov $40, %%esi; lea (%%rsi,%%rsi), %%rdi; call __might_fault" ::: "memory");
}
