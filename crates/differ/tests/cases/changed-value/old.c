int limit = 5;
int user(int n) { return n < limit; }
