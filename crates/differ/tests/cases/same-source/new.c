static int hits;
const char *text(int n) { hits++; return n ? "one" : "none"; }
