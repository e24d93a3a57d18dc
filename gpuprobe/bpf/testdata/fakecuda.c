// A libcuda.so.1 that does nothing, with the names that the real one exports. PROLOGUE
// chooses how its functions begin, which decides what a probe costs:
//   1 push   2 endbr64, push   3 nop of five bytes   4 sub rsp (single-stepped)
//   5 mov, push   6 jmp   0 whatever the compiler makes
#if defined(__x86_64__) && defined(PROLOGUE) && PROLOGUE > 0

#if PROLOGUE == 1
#define BODY "push %rbp\n pop %rbp\n xor %eax, %eax\n ret\n"
#elif PROLOGUE == 2
#define BODY "endbr64\n push %rbp\n pop %rbp\n xor %eax, %eax\n ret\n"
#elif PROLOGUE == 3
#define BODY ".byte 0x0f, 0x1f, 0x44, 0x00, 0x00\n xor %eax, %eax\n ret\n"
#elif PROLOGUE == 4
#define BODY "sub $8, %rsp\n add $8, %rsp\n xor %eax, %eax\n ret\n"
#elif PROLOGUE == 5
#define BODY "endbr64\n mov %rdi, %rax\n lea 8(%rsp), %r10\n push %rbp\n pop %rbp\n xor %eax, %eax\n ret\n"
#elif PROLOGUE == 6
#define BODY "jmp 1f\n nop\n 1: xor %eax, %eax\n ret\n"
#endif
#define FUNCTION(name)                                                                         \
	__asm__(".text\n .p2align 4\n .globl " #name "\n .type " #name ", @function\n" #name ":\n" BODY \
	        ".size " #name ", .-" #name "\n");
#else
#define FUNCTION(name)                                                                         \
	__attribute__((visibility("default"), noinline)) int name(void) {                      \
		__asm__ volatile("");                                                          \
		return 0;                                                                      \
	}
#endif

FUNCTION(cuInit)
FUNCTION(cuDevicePrimaryCtxRetain)
FUNCTION(cuMemAlloc_v2)
#ifndef NO_LAUNCHES
FUNCTION(cuLaunchKernel)
FUNCTION(cuLaunchKernel_ptsz)
FUNCTION(cuLaunchCooperativeKernel)
FUNCTION(cuGraphLaunch)
#ifndef OLD_DRIVER
FUNCTION(cuLaunchKernelEx)
FUNCTION(cuLaunchKernelEx_ptsz)
FUNCTION(cuLaunchCooperativeKernelMultiDevice)
FUNCTION(cuLaunch)
FUNCTION(cuLaunchGrid)
FUNCTION(cuLaunchGridAsync)
#endif
// Two names of one function.
__asm__(".globl cuGraphLaunch_ptsz\n .type cuGraphLaunch_ptsz, @function\n .set cuGraphLaunch_ptsz, cuGraphLaunch\n");
#endif
__asm__(".globl cuCtxCreate_v2\n .type cuCtxCreate_v2, @function\n .set cuCtxCreate_v2, cuInit\n");
