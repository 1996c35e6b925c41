/* SPDX-License-Identifier: BSD-2-Clause */
/* Each check in a process of its own: see doctor.h. */
#include "orchestrator/doctor/doctor_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/fields.h"
#include "common/log.h"

static int set_lo_up(void)
{
	struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP};
	cleanup_close int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	return fd < 0 ? -errno : ioctl(fd, SIOCSIFFLAGS, &request);
}

/*
 * A namespace keeps the ports to ourselves; without the privilege the loopback address and a free
 * port do. Not a user namespace: in it everything would be permitted that baton will not be.
 */
static void enter_network(void)
{
	cleanup_close int home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);

	if (home < 0 || unshare(CLONE_NEWNET) < 0)
		return;
	if (set_lo_up() < 0)
		(void)setns(home, CLONE_NEWNET);
}

/* Only the process itself knows what forbids something to it. */
static void find_privilege(const struct doctor_check *check, struct doctor_trial *trial, int r)
{
	struct privilege privilege;
	char advice[PRIVILEGE_TEXT_MAX];

	if (trial->how[0] || !check->need || (r != -EPERM && r != -EACCES && r != -ENOSYS))
		return;
	privilege_read(&privilege);
	if (privilege_advise(&privilege, check->need, advice))
		memcpy(trial->how, advice, sizeof(trial->how));
}

_Static_assert(sizeof(((struct doctor_trial *)NULL)->how) == PRIVILEGE_TEXT_MAX, "how");

static void judge(struct doctor_trial *trial, int r, const struct error *err,
		  struct doctor_result *ret)
{
	*ret = (struct doctor_result){.works = r >= 0};
	if (r < 0 && r != -EPROTO)
		ret->error = -r;
	memcpy(ret->how, trial->how, sizeof(ret->how));
	snprintf(ret->text, sizeof(ret->text), "%s", r < 0 ? err->text : trial->note);
	/* A reason can quote a path; JSON takes UTF-8 only. */
	fields_make_utf8(ret->text);
}

static void try(const struct doctor_check *check, const char *name, int fd)
{
	struct doctor_trial trial = {.name = name};
	struct doctor_result result;
	struct error err = {};
	int r;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	/* What goes wrong is in the result; a line on stderr would only be in between. */
	log_init("batond", LOG_LEVEL_ERROR);
	doctor_hush_libbpf();
	if (check->own_network)
		enter_network();
	r = check->function(&trial, &err);
	find_privilege(check, &trial, r);
	judge(&trial, r, &err, &result);
	_exit(write(fd, &result, sizeof(result)) == sizeof(result) ? 0 : 1);
}

static void fail(struct doctor_result *ret, int error, const char *text)
{
	*ret = (struct doctor_result){.error = error};
	snprintf(ret->text, sizeof(ret->text), "%s%s%s", text, error ? ": " : "",
		 error ? strerror(error) : "");
}

/* One write(2) of less than PIPE_BUF: all of it or nothing is there (pipe(7)). */
_Static_assert(sizeof(struct doctor_result) <= 4096, "doctor_result");

static void wait_for(pid_t pid, int fd, unsigned timeout_ms, struct doctor_result *ret)
{
	uint64_t deadline_ms = clock_monotonic_ms() + timeout_ms;
	struct pollfd readable = {.fd = fd, .events = POLLIN};
	int r, status = 0;

	do {
		uint64_t now_ms = clock_monotonic_ms();

		r = poll(&readable, 1, now_ms < deadline_ms ? (int)(deadline_ms - now_ms) : 0);
	} while (r < 0 && errno == EINTR);
	if (r != 1)
		fail(ret, ETIMEDOUT, "the check did not end");
	else if (read(fd, ret, sizeof(*ret)) != sizeof(*ret))
		fail(ret, 0, "the check crashed");
	/* What it has said is all there is to it. */
	kill(pid, SIGKILL);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
}

static void run_one(const struct doctor_check *check, const char *name, struct doctor_result *ret)
{
	int ends[2];
	pid_t pid;

	if (pipe2(ends, O_CLOEXEC) < 0) {
		fail(ret, errno, "pipe");
		return;
	}
	pid = fork();
	if (pid == 0) {
		close(ends[0]);
		try(check, name, ends[1]);
	}
	close(ends[1]);
	if (pid < 0)
		fail(ret, errno, "fork");
	else
		wait_for(pid, ends[0], check->timeout_ms ? check->timeout_ms : DOCTOR_TIMEOUT_MS,
			 ret);
	close(ends[0]);
}

static void block_signals(sigset_t *ret_before)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGQUIT);
	sigaddset(&set, SIGTERM);
	sigprocmask(SIG_BLOCK, &set, ret_before);
}

void doctor_run(const struct doctor_check *checks, size_t n, struct doctor_result *ret_results)
{
	struct sigaction normal = {.sa_handler = SIG_DFL}, child;
	sigset_t signals;
	char name[48];
	uint32_t mark;

	/*
	 * No dots: it becomes a folder in bpffs. Containers may share what that lies in, and the
	 * doctor is pid 1 in each of them.
	 */
	if (getrandom(&mark, sizeof(mark), 0) < 0)
		mark = (uint32_t)clock_monotonic_ms();
	snprintf(name, sizeof(name), "baton-doctor-%d-%08x", (int)getpid(), mark);
	block_signals(&signals);
	/* Ignored, it would take the exit statuses (wait(2)). */
	sigaction(SIGCHLD, &normal, &child);
	for (size_t i = 0; i < n; i++)
		run_one(&checks[i], name, &ret_results[i]);
	doctor_sweep(name);
	sigaction(SIGCHLD, &child, NULL);
	sigprocmask(SIG_SETMASK, &signals, NULL);
}
