struct id { long device; };
extern int exported_register(const struct id *ids);
static const struct id ids[] = { { 1 }, { 2 }, { 3 }, { 0 } };
extern const struct id __mod_usb__ids_device_table[sizeof(ids) / sizeof(*ids)] __attribute__((unused, alias("ids")));
int fixed(void) { return exported_register(ids); }
