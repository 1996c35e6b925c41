/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * hammer: the load generator. --help says what it does, docs/hammer.md what its output means.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "bench/load.h"
#include "bench/summary.h"
#include "common/cleanup.h"

enum { EXIT_USAGE = 2 };

/* Each client needs a descriptor; the usual soft limit is 1,024. */
static void raise_descriptor_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
}

static int open_signals(void)
{
	sigset_t set;

	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigprocmask(SIG_BLOCK, &set, NULL);
	return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

static int run(const struct settings *settings)
{
	cleanup_close int signals = open_signals();
	const struct load_io io = {.commands = STDIN_FILENO, .signals = signals, .output = stdout};
	struct error err = {0};
	struct tally tally;
	int status, r;

	raise_descriptor_limit();
	r = load_run(settings, &io, &tally, &err);
	if (r < 0) {
		fprintf(stderr, "hammer: %s\n", err.text);
		return 3;
	}
	if (settings->json)
		r = summary_json(&tally, settings, tally.end_us, false, stdout);
	else
		r = summary_table(&tally, settings, stdout);
	if (r < 0)
		fprintf(stderr, "hammer: standard output: %s\n", strerror(-r));
	status = tally_exit_status(&tally);
	tally_done(&tally);
	return status == 0 && r < 0 ? 3 : status;
}

int main(int argc, char **argv)
{
	struct settings settings;
	struct error err = {0};
	int status;

	if (settings_parse(argc, argv, &settings, &err) < 0) {
		fprintf(stderr, "hammer: %s (see hammer --help)\n", err.text);
		status = EXIT_USAGE;
	} else if (settings.help) {
		fputs(settings_help, stdout);
		status = 0;
	} else if (settings.version) {
		puts("hammer " BATON_VERSION);
		status = 0;
	} else {
		status = run(&settings);
	}
	settings_done(&settings);
	return status;
}
