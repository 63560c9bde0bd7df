__attribute__((section(".modinfo"), used)) static const char about[] = "parm=depth:of the queue";
__attribute__((section(".modinfo"), used)) static const char of[] = "driver.description=a driver";
int fixed(int n) { return n + 1; }
