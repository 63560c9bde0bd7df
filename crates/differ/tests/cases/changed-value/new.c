int limit = 6;
int user(int n) { return n < limit; }
