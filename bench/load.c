/* SPDX-License-Identifier: BSD-2-Clause */
#include "bench/load.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "bench/loop.h"
#include "bench/summary.h"
#include "common/cleanup.h"

#define COMMAND_MAX 256

struct load {
	const struct settings *settings;
	const struct load_io *io;
	struct loop *loops;
	pthread_t *threads;
	size_t n;       /* of the loops that were begun */
	size_t started; /* of the threads */
	size_t ended;
	int ended_fd; /* an eventfd that each loop adds 1 to at its end */
	int commands; /* -1 once they have ended */
	uint64_t begin_us;
	uint64_t refused; /* commands */
	bool stopping;
	char command[COMMAND_MAX];
	size_t command_length;
	bool command_too_long;
};

/* ---- all loops ------------------------------------------------------------------------------ */

/* Nothing is counted meanwhile: what is marked is marked for all at once. */
static void lock_all(struct load *load)
{
	for (size_t i = 0; i < load->n; i++)
		loop_lock(&load->loops[i]);
}

static void unlock_all(struct load *load)
{
	for (size_t i = load->n; i-- > 0;)
		loop_unlock(&load->loops[i]);
}

/* With all of them locked. Their marks are the same: what one refuses, all do. */
static int mark_all(struct load *load, int (*mark)(struct tally *tally, uint64_t now_us))
{
	uint64_t now_us = client_clock_us();
	int r = 0;

	for (size_t i = 0; i < load->n && r == 0; i++)
		r = mark(&load->loops[i].tally, now_us);
	return r;
}

static void stop_all(struct load *load)
{
	load->stopping = true;
	for (size_t i = 0; i < load->n; i++)
		loop_stop(&load->loops[i]);
}

/* What all have counted, with the marks of the first one. All are locked, or have ended. */
static int sum_up(struct load *load, struct tally *ret)
{
	const struct tally *first = &load->loops[0].tally;
	int r = tally_init(ret, load->begin_us);

	for (size_t i = 1; i < first->n_phases && r == 0; i++)
		r = tally_phase(ret, first->phases[i].name, first->phases[i].begin_us);
	if (r < 0) {
		tally_done(ret);
		return r;
	}
	memcpy(ret->swaps, first->swaps, first->n_swaps * sizeof(*first->swaps));
	ret->n_swaps = first->n_swaps;
	for (size_t i = 0; i < load->n; i++)
		tally_merge(ret, &load->loops[i].tally);
	ret->commands_refused = load->refused;
	return 0;
}

/* ---- commands ------------------------------------------------------------------------------- */

static int command_swap_begin(struct load *load, const char *argument)
{
	(void)argument;
	return mark_all(load, tally_swap_begin);
}

static int command_swap_end(struct load *load, const char *argument)
{
	(void)argument;
	return mark_all(load, tally_swap_end);
}

static int command_phase(struct load *load, const char *argument)
{
	uint64_t now_us = client_clock_us();
	int r = 0;

	for (size_t i = 0; i < load->n && r == 0; i++)
		r = tally_phase(&load->loops[i].tally, argument, now_us);
	return r;
}

static int command_report(struct load *load, const char *argument)
{
	uint64_t now_us = client_clock_us();
	struct tally tally;
	int r = sum_up(load, &tally);

	(void)argument;
	if (r < 0)
		return r;
	r = summary_json(&tally, load->settings, now_us, true, load->io->output);
	tally_done(&tally);
	return r;
}

static int command_stop(struct load *load, const char *argument)
{
	(void)argument;
	stop_all(load);
	return 0;
}

static const struct {
	const char *text;
	bool has_argument;
	int (*run)(struct load *load, const char *argument);
} commands[] = {
	{"swap begin", false, command_swap_begin},
	{"swap end", false, command_swap_end},
	{"phase", true, command_phase},
	{"report", false, command_report},
	{"stop", false, command_stop},
};

static int run_command(struct load *load, const char *line)
{
	for (size_t i = 0; i < sizeof(commands) / sizeof(*commands); i++) {
		size_t length = strlen(commands[i].text);

		if (strncmp(line, commands[i].text, length) != 0)
			continue;
		if (commands[i].has_argument && line[length] == ' ')
			return commands[i].run(load, line + length + 1);
		if (!commands[i].has_argument && line[length] == '\0')
			return commands[i].run(load, NULL);
	}
	return -EINVAL;
}

static void end_of_line(struct load *load)
{
	int r = -EMSGSIZE;

	load->command[load->command_length] = '\0';
	if (!load->command_too_long) {
		lock_all(load);
		r = run_command(load, load->command);
		unlock_all(load);
	}
	if (r < 0) {
		fprintf(stderr, "hammer: command \"%s\": %s\n", load->command, strerror(-r));
		load->refused++;
	}
	load->command_length = 0;
	load->command_too_long = false;
}

/* Their end means nothing. */
static void on_commands(struct load *load)
{
	char buffer[1024];
	ssize_t n = read(load->commands, buffer, sizeof(buffer));

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		load->commands = -1;
		return;
	}
	for (ssize_t i = 0; i < n; i++) {
		if (buffer[i] == '\n')
			end_of_line(load);
		else if (load->command_length < COMMAND_MAX - 1)
			load->command[load->command_length++] = buffer[i];
		else
			load->command_too_long = true;
	}
}

static void on_signal(struct load *load)
{
	struct signalfd_siginfo info;

	if (read(load->io->signals, &info, sizeof(info)) != (ssize_t)sizeof(info))
		return;
	lock_all(load);
	for (size_t i = 0; load->stopping && i < load->n; i++)
		loop_give_up(&load->loops[i]);
	stop_all(load);
	unlock_all(load);
}

/* ---- beginning and end ---------------------------------------------------------------------- */

/* One that ends before it was told to may have met an error: then the others end, too. */
static void on_ended(struct load *load)
{
	uint64_t times = 0;

	if (read(load->ended_fd, &times, sizeof(times)) != (ssize_t)sizeof(times))
		return;
	load->ended += times;
	lock_all(load);
	for (size_t i = 0; i < load->n; i++)
		if (load->loops[i].result < 0)
			stop_all(load);
	unlock_all(load);
}

static int wait_for_the_end(struct load *load, struct error *err)
{
	while (load->ended < load->started) {
		struct pollfd fds[] = {
			{.fd = load->ended_fd, .events = POLLIN},
			{.fd = load->io->signals, .events = POLLIN},
			{.fd = load->commands, .events = POLLIN},
		};

		if (poll(fds, sizeof(fds) / sizeof(*fds), -1) < 0) {
			if (errno == EINTR)
				continue;
			return error_set(err, -errno, "poll");
		}
		if (fds[1].revents)
			on_signal(load);
		if (fds[2].revents)
			on_commands(load);
		if (fds[0].revents)
			on_ended(load);
	}
	return 0;
}

static int start_threads(struct load *load, struct error *err)
{
	for (; load->started < load->n; load->started++) {
		int error = pthread_create(&load->threads[load->started], NULL, loop_run,
					   &load->loops[load->started]);

		if (error)
			return error_set(err, -error, "a thread");
	}
	return 0;
}

static int load_init(struct load *load, struct error *err)
{
	load->ended_fd = eventfd(0, EFD_CLOEXEC);
	if (load->ended_fd < 0)
		return error_set(err, -errno, "eventfd");
	load->loops = calloc(load->settings->threads, sizeof(*load->loops));
	load->threads = calloc(load->settings->threads, sizeof(*load->threads));
	if (!load->loops || !load->threads)
		return error_set(err, -ENOMEM, "%u threads", load->settings->threads);
	for (; load->n < load->settings->threads; load->n++) {
		int r = loop_init(&load->loops[load->n], load->settings, (uint32_t)load->n,
				  load->ended_fd, load->begin_us, err);

		if (r < 0) {
			loop_done(&load->loops[load->n]);
			return r;
		}
	}
	return 0;
}

static void end_threads(struct load *load)
{
	lock_all(load);
	stop_all(load);
	for (size_t i = 0; i < load->n && load->ended < load->started; i++)
		loop_give_up(&load->loops[i]);
	unlock_all(load);
	for (size_t i = 0; i < load->started; i++)
		pthread_join(load->threads[i], NULL);
}

static void load_done(struct load *load)
{
	for (size_t i = 0; i < load->n; i++)
		loop_done(&load->loops[i]);
	free(load->loops);
	free(load->threads);
	if (load->ended_fd >= 0)
		close(load->ended_fd);
}

int load_run(const struct settings *settings, const struct load_io *io, struct tally *ret_tally,
	     struct error *err)
{
	struct load load = {
		.settings = settings,
		.io = io,
		.commands = io->commands,
		.begin_us = client_clock_us(),
	};
	int r = load_init(&load, err);

	if (r == 0)
		r = start_threads(&load, err);
	if (r == 0)
		r = wait_for_the_end(&load, err);
	end_threads(&load);
	for (size_t i = 0; i < load.started && r == 0; i++) {
		r = load.loops[i].result;
		if (r < 0)
			*err = load.loops[i].err;
	}
	if (r == 0 && (r = sum_up(&load, ret_tally)) < 0)
		error_set(err, r, "tally");
	load_done(&load);
	return r;
}
