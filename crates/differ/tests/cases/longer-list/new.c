extern int hidden(const int *list, unsigned int count);
static const int listed[] = { 3, 7, 9 };
static const int at_start[] __attribute__((__section__(".init.rodata"))) = { 4, 9 };
int known(void) { return hidden(listed, sizeof(listed) / sizeof(*listed)); }
__attribute__((__section__(".init.text"))) int start(int n) { return at_start[n]; }
