int same(int n) { return n + 1; }
