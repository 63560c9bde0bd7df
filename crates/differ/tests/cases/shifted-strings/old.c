extern int exported_log(const char *text);
int first(int n) { return exported_log("first"); }
int second(int n) { return exported_log("second") + exported_log("a third text"); }
