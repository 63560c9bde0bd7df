extern int exported_log(const char *text);
extern int hidden(int n);
static int hits;
int untouched(int n) { return hits += n; }
int fixed(int n) { exported_log("fixed"); if (n < 0) return -22; return hidden(n) + hits; }
