__attribute__((section(".modinfo"), used)) static const char about[] = "description=a driver";
int fixed(int n) { return n + 1; }
