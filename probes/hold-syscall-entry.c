/*
 * Holds a thread in the entry of a system call, as a debugger does that was left alone: a child
 * is stopped there by ptrace(2) and stays so until this program ends.
 *
 * Prints "held PID" when the child stands still.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static void child(void)
{
	if (ptrace(PTRACE_TRACEME, 0, 0, 0))
		_exit(1);
	raise(SIGSTOP);
	for (;;)
		getppid();
}

int main(void)
{
	int status;
	pid_t pid = fork();

	if (pid < 0)
		fail("fork");
	if (pid == 0)
		child();
	if (waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status))
		fail("waitpid");
	if (ptrace(PTRACE_SETOPTIONS, pid, 0,
		   (void *)(PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL)))
		fail("PTRACE_SETOPTIONS");
	if (ptrace(PTRACE_SYSCALL, pid, 0, 0))
		fail("PTRACE_SYSCALL");
	if (waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status) ||
	    WSTOPSIG(status) != (SIGTRAP | 0x80))
		fail("no stop at the entry of a system call");
	printf("held %d\n", (int)pid);
	fflush(stdout);
	for (;;)
		pause();
}
