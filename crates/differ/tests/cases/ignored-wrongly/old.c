int fixed(int n) { return n * 1; }
