extern int hidden(int n);
extern __attribute__((cold)) int exported_fail(const char *text, int n);
int fixed(int n) { if (__builtin_expect(n < 0, 0)) { exported_fail("bad", n); exported_fail("worse", n + 1); } return hidden(n); }
