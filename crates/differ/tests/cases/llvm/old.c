extern int hidden(int n);
static int same(int n) __asm__("same.llvm.1111111111111111111");
static int work(int n) __asm__("work.llvm.1111111111111111111");
__attribute__((noinline)) static int same(int n) { return hidden(n + 1); }
__attribute__((noinline)) static int work(int n) { return hidden(n) + 1; }
int one(int n) { return work(n) + same(n); }
int two(int n) { return same(n) * 2; }
