/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/host/first.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

/* What the daemon knows (daemon.c), and what else people send to a container. */
static const int handed_on[] = {SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2, SIGQUIT};

static bool behind;

bool first_is_behind(void)
{
	return behind;
}

static void fill(sigset_t *set)
{
	sigemptyset(set);
	sigaddset(set, SIGCHLD);
	for (size_t k = 0; k < sizeof(handed_on) / sizeof(handed_on[0]); k++)
		sigaddset(set, handed_on[k]);
}

/* Wait for all that have ended. Exits when @daemon is among them. */
static void reap(pid_t daemon)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		if (pid == daemon)
			exit(WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status));
}

static _Noreturn void stay(pid_t daemon, const sigset_t *set)
{
	for (;;) {
		int signal = sigwaitinfo(set, NULL);

		if (signal == SIGCHLD)
			reap(daemon);
		else if (signal > 0)
			kill(daemon, signal);
	}
}

int first_step_aside(struct error *err)
{
	sigset_t set, before;
	pid_t pid;

	if (getpid() != 1)
		return 0;
	fill(&set);
	sigprocmask(SIG_BLOCK, &set, &before);
	pid = fork();
	if (pid < 0)
		return error_set(err, -errno, "start a process for the daemon");
	if (pid > 0)
		stay(pid, &set);
	behind = true;
	setpgid(0, 0);
	sigprocmask(SIG_SETMASK, &before, NULL);
	return 0;
}
