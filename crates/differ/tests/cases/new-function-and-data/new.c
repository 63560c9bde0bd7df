extern int hidden(int n);
int added_limit = 12;
static const int table[] = { 3, 1, 4, 1, 5, 9, 2, 6 };
__attribute__((noinline)) static int checked(int n) { return table[n & 7] + hidden(n); }
__attribute__((noinline)) int visible(int n) { return n + added_limit; }
int fixed(int n) { return n > added_limit ? visible(n) : checked(n); }
