int fixed(int n) { static int count; if (n) count += n; return count; }
