/*
 * Gives the kernel's random numbers a start from the processor's. Kernels before 4.8 do not believe the
 * processor, and a virtual machine has too few interrupts; until then getrandom() waits.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/random.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define BYTES 512
#define ROUNDS 64

static struct {
	struct rand_pool_info head;
	unsigned long long words[BYTES / 8];
} pool;

__attribute__((target("rdrnd"))) static int fill(void)
{
	for (unsigned i = 0; i < BYTES / 8; i++)
		if (!__builtin_ia32_rdrand64_step(&pool.words[i]))
			return -1;
	return 0;
}

int main(void)
{
	char drawn[64];
	int device = open("/dev/urandom", O_RDWR);

	__builtin_cpu_init();
	if (!__builtin_cpu_supports("rdrnd") || device < 0) {
		fputs("no random numbers of the processor, or no /dev/urandom\n", stderr);
		return 1;
	}
	pool.head.entropy_count = BYTES * 8;
	pool.head.buf_size = BYTES;
	for (int round = 0; round < ROUNDS; round++) {
		if (fill() || ioctl(device, RNDADDENTROPY, &pool) || read(device, drawn, sizeof(drawn)) < 0) {
			perror("cannot add to the kernel's random numbers");
			return 1;
		}
		if (syscall(SYS_getrandom, drawn, sizeof(drawn), GRND_NONBLOCK) == sizeof(drawn))
			return 0;
	}
	fputs("the kernel's random numbers have no start yet\n", stderr);
	return 1;
}
