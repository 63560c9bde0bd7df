long slots[8];
long user(int n) { return slots[n & 7]; }
