extern int hidden(int n);
static const int listed[] = { 3, 7 };
static const int at_start[] __attribute__((__section__(".init.rodata"))) = { 4, 8 };
int known(unsigned int n) { return n < sizeof(listed) / sizeof(*listed) ? hidden(listed[n]) : 0; }
__attribute__((__section__(".init.text"))) int start(int n) { return at_start[n]; }
