/* SPDX-License-Identifier: BSD-2-Clause */
#include "agent/libbaton/leave.h"

#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "agent/baton.h"

#define VARIABLE "BATON_DRAIN_SIGNAL"

/*
 * What the handler needs. It may run in any thread at any time, also while leave_end() runs in
 * another one. It counts itself in .writers: so leave_end() can wait until nobody is about to write
 * to the descriptor that it closes.
 */
static struct {
	atomic_int owner;     /* the process between leave_begin() and leave_end(); 0: none */
	atomic_int installer; /* the last owner, also after leave_end() */
	atomic_int fd;        /* -1: none */
	atomic_int asked;
	atomic_int writers;
	struct sigaction before; /* written while the handler is not installed */
} state = {.fd = -1};

/* In a handler only lock-free atomics are allowed (signal-safety(7)). */
_Static_assert(ATOMIC_INT_LOCK_FREE == 2, "the handler needs lock-free atomics");

int leave_asked(void)
{
	return atomic_load(&state.asked);
}

void leave_ask(void)
{
	const uint64_t one = 1;
	int fd, asked;

	atomic_fetch_add(&state.writers, 1);
	fd = atomic_load(&state.fd);
	if (fd >= 0) {
		asked = atomic_load(&state.asked);
		while (asked < INT_MAX &&
		       !atomic_compare_exchange_weak(&state.asked, &asked, asked + 1))
			;
		/* It can only fail with EAGAIN, at 2^64 - 1: then it is readable (eventfd(2)). */
		if (write(fd, &one, sizeof(one)) < 0)
			(void)fd;
	}
	atomic_fetch_sub(&state.writers, 1);
}

static void on_signal(int signal);

static bool is_ours(const struct sigaction *action)
{
	return !(action->sa_flags & SA_SIGINFO) && action->sa_handler == on_signal;
}

/*
 * The signal came in a child made by fork(2). The descriptor is the parent's, too, but the parent
 * was not asked to leave. So put back what the signal did before, and raise it again: it is
 * delivered when the handler returns and the signal is unblocked. If another handler has called
 * this one, it has dealt with the signal.
 */
static void in_child(int signal)
{
	struct sigaction now;

	if (sigaction(signal, NULL, &now) < 0 || !is_ours(&now))
		return;
	(void)sigaction(signal, &state.before, NULL);
	(void)raise(signal);
}

static void on_signal(int signal)
{
	int saved = errno;

	if (atomic_load(&state.installer) == getpid())
		leave_ask();
	else
		in_child(signal);
	errno = saved;
}

/* ---- which signal -------------------------------------------------------------------------- */

static int parse_signal(const char *text)
{
	static const struct {
		const char *name;
		int number;
	} names[] = {
		{"TERM", SIGTERM}, {"INT", SIGINT},   {"QUIT", SIGQUIT},   {"HUP", SIGHUP},
		{"USR1", SIGUSR1}, {"USR2", SIGUSR2}, {"WINCH", SIGWINCH}, {"ALRM", SIGALRM},
		{"IO", SIGIO},     {"PWR", SIGPWR},   {"URG", SIGURG},
	};
	size_t length = strlen(text);

	if (length > 0 && length <= 2 && strspn(text, "0123456789") == length)
		return atoi(text);
	if (strncasecmp(text, "SIG", 3) == 0)
		text += 3;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strcasecmp(text, names[i].name) == 0)
			return names[i].number;
	return 0;
}

static int choose_signal(int wanted, int *ret, struct error *err)
{
	const char *text = getenv(VARIABLE);

	*ret = wanted;
	if (wanted == 0)
		*ret = text && text[0] ? parse_signal(text) : SIGTERM;
	if (*ret > 0 && *ret < NSIG && *ret != SIGKILL && *ret != SIGSTOP)
		return 0;
	if (wanted == 0)
		return error_text(err, -EINVAL, VARIABLE "=%.20s: not a signal that can be caught",
				  text);
	return error_text(err, -EINVAL, "signal %d: not a signal that can be caught", wanted);
}

/* ---- begin and end ------------------------------------------------------------------------- */

static int install(int wanted, struct leave *leave, struct error *err)
{
	struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART | SA_ONSTACK};
	struct sigaction now;
	int number, r;

	if (wanted == BATON_SIGNAL_NONE)
		return 0;
	r = choose_signal(wanted, &number, err);
	if (r < 0)
		return r;
	sigemptyset(&action.sa_mask);
	if (sigaction(number, NULL, &now) < 0)
		return error_set(err, -errno, "signal %d", number);
	/* In a child made by fork(2) the parent's handler may still be installed. */
	if (!is_ours(&now))
		state.before = now;
	if (sigaction(number, &action, NULL) < 0)
		return error_set(err, -errno, "signal %d", number);
	leave->before = state.before;
	leave->signal = number;
	return 0;
}

/* Become the owner, unless this process is already. A parent's ownership does not count. */
static bool claim(pid_t pid)
{
	int owner = atomic_load(&state.owner);

	if (owner == pid || !atomic_compare_exchange_strong(&state.owner, &owner, pid))
		return false;
	/*
	 * At the fork another thread of the parent may have been counted; it does not exist here.
	 */
	if (owner != 0)
		atomic_store(&state.writers, 0);
	atomic_store(&state.asked, 0);
	atomic_store(&state.installer, pid);
	return true;
}

int leave_begin(int signal, struct leave *leave, struct error *err)
{
	pid_t pid = getpid();
	int r;

	if (!claim(pid))
		return error_text(err, -EBUSY, "this process has an open baton handle already");
	leave->pid = pid;
	leave->signal = 0;
	leave->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (leave->fd < 0) {
		r = error_set(err, -errno, "make an eventfd");
		atomic_store(&state.owner, 0);
		return r;
	}
	atomic_store(&state.fd, leave->fd);
	r = install(signal, leave, err);
	if (r < 0)
		leave_end(leave);
	return r;
}

void leave_end(struct leave *leave)
{
	struct sigaction now;

	if (leave->pid == getpid()) {
		if (leave->signal && sigaction(leave->signal, NULL, &now) == 0 && is_ours(&now))
			(void)sigaction(leave->signal, &leave->before, NULL);
		atomic_store(&state.fd, -1);
		while (atomic_load(&state.writers) > 0)
			sched_yield();
		atomic_store(&state.owner, 0);
	}
	close(leave->fd);
	leave->fd = -1;
}
