int kept(int n) { return n + 1; }
