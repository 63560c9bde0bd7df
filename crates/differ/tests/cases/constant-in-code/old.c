unsigned long limit;
unsigned long fixed(unsigned long n)
{
	unsigned long most;
	__asm__("mov $0x123456789abcdef, %0\n1:\n.pushsection runtime_ptr_limit, \"a\"\n.long 1b - 8 - .\n.popsection" : "=r" (most));
	return n < most;
}
