int unused(int n) { return n; }
int kept(int n) { return n + 1; }
