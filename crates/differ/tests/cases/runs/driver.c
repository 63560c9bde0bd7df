#include <stdio.h>
/* The running kernel: what the patched unit refers to, under its own names. */
int hits = 40, calls;
const char *const names[] = { "zero", "one", "two", "three" };
int twice(int n) { return n * 2; }
int helper(int n) { hits += n; return hits; }
int hidden(int n) { return n + 10000; }
int exported_log(const char *text) { printf("%s\n", text); return 0; }
int exported_call(int (*callback)(int), int n) { printf("%s\n", callback == twice ? "kernel's" : "patch's"); return callback(n); }
__asm__(".globl __fentry__\n__fentry__: ret");
extern int patched(int n) __asm__("__suture_u0_0");
int main(void)
{
	printf("%d\n", patched(3));
	printf("%d\n", patched(-6));
	printf("%d %d\n", hits, calls);
	return 0;
}
