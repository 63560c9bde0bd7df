__attribute__((noinline)) static int bump(int n) { static int count; count += n; return count; }
int fixed(int n) { return n ? bump(n) : 0; }
