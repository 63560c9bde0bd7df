__attribute__((section(".modinfo"), used)) static const char about[] = "parm=depth:of each queue";
__attribute__((section(".modinfo"), used)) static const char of[] = "driver.description=a better driver";
int fixed(int n) { return n + 2; }
