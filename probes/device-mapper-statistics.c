/*
 * Makes a device-mapper device of zeroes, reads from it, makes the device count its requests, and
 * reads again. What the kernel does differently then hangs on a static key of its module dm_mod.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/dm-ioctl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define NAME "suture"
#define SECTORS 8

static union {
	struct dm_ioctl head;
	char bytes[4096];
} call;
static int control;

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static void *prepare(void)
{
	memset(&call, 0, sizeof(call));
	call.head.version[0] = 4;
	call.head.data_size = sizeof(call);
	call.head.data_start = sizeof(call.head);
	strcpy(call.head.name, NAME);
	return call.bytes + sizeof(call.head);
}

static void ask(unsigned long request, const char *what)
{
	if (ioctl(control, request, &call))
		fail(what);
}

static void make(void)
{
	struct dm_target_spec *target;

	prepare();
	ask(DM_DEV_CREATE, "DM_DEV_CREATE");
	target = prepare();
	call.head.target_count = 1;
	target->length = SECTORS;
	strcpy(target->target_type, "zero");
	ask(DM_TABLE_LOAD, "DM_TABLE_LOAD");
	prepare();
	ask(DM_DEV_SUSPEND, "DM_DEV_SUSPEND (to resume)");
}

static void read_device(dev_t device)
{
	static char buffer[512] __attribute__((aligned(512)));
	int file;

	if (mknod("/dev/suture-device", S_IFBLK | 0600, device))
		fail("mknod");
	file = open("/dev/suture-device", O_RDONLY | O_DIRECT);
	if (file < 0 || read(file, buffer, sizeof(buffer)) != sizeof(buffer))
		fail("the device");
	close(file);
	unlink("/dev/suture-device");
}

int main(void)
{
	struct dm_target_msg *message;
	dev_t device;

	control = open("/dev/mapper/control", O_RDWR);
	if (control < 0)
		fail("/dev/mapper/control");
	make();
	device = makedev(call.head.dev >> 8 & 0xfff, call.head.dev & 0xff);
	read_device(device);
	message = prepare();
	strcpy(message->message, "@stats_create - /1");
	ask(DM_TARGET_MSG, "DM_TARGET_MSG");
	read_device(device);
	prepare();
	ask(DM_DEV_REMOVE, "DM_DEV_REMOVE");
	return 0;
}
