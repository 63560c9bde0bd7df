extern int hidden(int n);
__asm__(".pushsection .text.fixed,\"ax\"\n.type __pfx_fixed,@function\n__pfx_fixed: .fill 16,1,0x90\n.size __pfx_fixed, 16\n.type fixed,@function\n.globl fixed\nfixed: call __fentry__\nmov $2, %eax\njmp hidden\n.size fixed, . - fixed\n.popsection");
extern int fixed(int n);
int unchanged(int n) { return fixed(n); }
