struct rule { unsigned int most; };
extern void *memcpy(void *to, const void *from, unsigned long length);
static const struct rule rules = { 2 }, others = { 7 };
static const struct { long kind; const struct rule *rule; } kinds[64] = { { 1, &rules }, { 2, &others } };
void fill(void *ports) { memcpy(ports, kinds, sizeof(kinds)); }
