extern int exported_log(const char *text);
#define ID(number) ".pushsection .BTF_ids,\"a\"\nids:\n.local __BTF_ID__struct__thing__" #number "\n.type __BTF_ID__struct__thing__" #number ", STT_OBJECT\n.size __BTF_ID__struct__thing__" #number ", 4\n__BTF_ID__struct__thing__" #number ": .zero 4\n.popsection"
__asm__(ID(5482));
extern const unsigned int ids[];
struct operations { int (*open)(int n); const unsigned int *id; };
static int opened(int n) { return n ? exported_log("n") : n; }
const struct operations operations = { .open = opened, .id = ids };
