/*
 * Restarts the machine without warning, right after a file got its final name in a watched
 * folder: what was not flushed by then is lost, as in a power cut.
 *
 *   cut-after-rename COUNT FOLDER...
 *
 * Acts on the COUNT-th such file from the start on. With 0 it acts on none and prints each name.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/inotify.h>
#include <unistd.h>

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

int main(int argc, char **argv)
{
	char buffer[16 * (sizeof(struct inotify_event) + NAME_MAX + 1)]
		__attribute__((aligned(8)));
	long left = argc > 1 ? atol(argv[1]) : -1;
	int act = left > 0;
	int trigger = open("/proc/sysrq-trigger", O_WRONLY);
	int watch = inotify_init1(IN_CLOEXEC);

	if (left < 0 || argc < 3) {
		fprintf(stderr, "usage: cut-after-rename COUNT FOLDER...\n");
		return 2;
	}
	if (trigger < 0 || watch < 0)
		fail("cannot watch");
	for (int i = 2; i < argc; i++)
		if (inotify_add_watch(watch, argv[i], IN_MOVED_TO) < 0)
			fail(argv[i]);
	printf("watching\n");
	fflush(stdout);
	for (;;) {
		ssize_t count = read(watch, buffer, sizeof(buffer));

		if (count < 0)
			fail("read");
		for (char *at = buffer; at < buffer + count;) {
			struct inotify_event *event = (void *)at;

			if (act && --left == 0) {
				/* `b`: at once, nothing is written back. */
				if (write(trigger, "b", 1) < 0)
					fail("sysrq");
			} else if (!act) {
				printf("%s\n", event->name);
				fflush(stdout);
			}
			at += sizeof(*event) + event->len;
		}
	}
}
