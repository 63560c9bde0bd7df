typedef int operation(int);
struct operations { operation *enqueue, *pick; };
static int fixed(int n) { return n; }
int same(int n) { return n - 1; }
__attribute__((section("__fair_sched_class"))) const struct operations fair_sched_class = { fixed, same };
