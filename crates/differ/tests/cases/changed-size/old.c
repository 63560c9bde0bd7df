long slots[4];
long user(int n) { return slots[n & 3]; }
