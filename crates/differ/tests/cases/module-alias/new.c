__attribute__((section(".modinfo"), used)) static const char about[] = "description=another driver";
__attribute__((section(".modinfo"), used)) static const char alias[] = "alias=pci:v00001077d*";
int fixed(int n) { return n + 2; }
