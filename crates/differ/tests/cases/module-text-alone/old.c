__attribute__((section(".modinfo"), used)) static const char about[] = "version=1.0";
int same(int n) { return n + 1; }
