typedef int operation(int);
struct operations { operation *enqueue, *pick; };
int fixed(int n) { return n; }
int fixed_exit(void) { return 1; }
int same(int n) { return n - 1; }
__attribute__((section("__fair_sched_class"))) const struct operations fair_sched_class = { fixed, same };
const struct operations *class_of(int n) { return n ? &fair_sched_class : 0; }
__attribute__((used, section(".pci_fixup_final"))) static operation *const fixup = fixed;
__attribute__((used, section(".exitcall.exit"))) static int (*const at_exit)(void) = fixed_exit;
