/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/config/config_internal.h"

#include <signal.h>
#include <string.h>

static const char cannot_be_caught[] = "ends the server at once, without a drain";
static const char only_stops[] = "halts the server instead of ending it";
static const char not_a_request[] = "does not end a server";

static const struct {
	const char *name;
	int signal;
	const char *unfit;
} signals[] = {
	/* clang-format off */
	{"SIGHUP",    SIGHUP,	 NULL},
	{"SIGINT",    SIGINT,	 NULL},
	{"SIGQUIT",   SIGQUIT,	 NULL},
	{"SIGILL",    SIGILL,	 NULL},
	{"SIGTRAP",   SIGTRAP,	 NULL},
	{"SIGABRT",   SIGABRT,	 NULL},
	{"SIGBUS",    SIGBUS,	 NULL},
	{"SIGFPE",    SIGFPE,	 NULL},
	{"SIGKILL",   SIGKILL,	 cannot_be_caught},
	{"SIGUSR1",   SIGUSR1,	 NULL},
	{"SIGSEGV",   SIGSEGV,	 NULL},
	{"SIGUSR2",   SIGUSR2,	 NULL},
	{"SIGPIPE",   SIGPIPE,	 NULL},
	{"SIGALRM",   SIGALRM,	 NULL},
	{"SIGTERM",   SIGTERM,	 NULL},
	{"SIGSTKFLT", SIGSTKFLT, NULL},
	{"SIGCHLD",   SIGCHLD,	 not_a_request},
	{"SIGCONT",   SIGCONT,	 not_a_request},
	{"SIGSTOP",   SIGSTOP,	 only_stops},
	{"SIGTSTP",   SIGTSTP,	 only_stops},
	{"SIGTTIN",   SIGTTIN,	 only_stops},
	{"SIGTTOU",   SIGTTOU,	 only_stops},
	{"SIGURG",    SIGURG,	 NULL},
	{"SIGXCPU",   SIGXCPU,	 NULL},
	{"SIGXFSZ",   SIGXFSZ,	 NULL},
	{"SIGVTALRM", SIGVTALRM, NULL},
	{"SIGPROF",   SIGPROF,	 NULL},
	{"SIGWINCH",  SIGWINCH,	 NULL},
	{"SIGIO",     SIGIO,	 NULL},
	{"SIGPWR",    SIGPWR,	 NULL},
	{"SIGSYS",    SIGSYS,	 NULL},
	/* clang-format on */
};

#define N_SIGNALS (sizeof(signals) / sizeof(signals[0]))

int config_signal_parse(const char *text)
{
	for (size_t i = 0; i < N_SIGNALS; i++)
		if (strcmp(text, signals[i].name) == 0 || strcmp(text, signals[i].name + 3) == 0)
			return signals[i].signal;
	return 0;
}

const char *config_signal_name(int signal)
{
	for (size_t i = 0; i < N_SIGNALS; i++)
		if (signals[i].signal == signal)
			return signals[i].name;
	return "none";
}

const char *config_signal_unfit(int signal)
{
	for (size_t i = 0; i < N_SIGNALS; i++)
		if (signals[i].signal == signal)
			return signals[i].unfit;
	return "is unknown";
}
