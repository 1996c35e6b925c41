/* SPDX-License-Identifier: BSD-2-Clause */
#include "bench/load.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "bench/client.h"
#include "bench/summary.h"
#include "common/cleanup.h"

#define EVENTS_MAX    256
#define COMMAND_MAX   256
#define MARK_COMMANDS UINT32_MAX /* epoll's data, where clients have their index */
#define MARK_SIGNALS  (UINT32_MAX - 1)

struct load {
	struct client_context context;
	struct client *clients;
	struct reply *replies;
	size_t n;
	const struct load_io *io;
	uint64_t end_us; /* of the duration, then of the grace */
	bool give_up;
	char command[COMMAND_MAX];
	size_t command_length;
	bool command_too_long;
};

static void stop(struct load *load)
{
	uint64_t now_us = client_clock_us();

	if (load->context.stopping)
		return;
	load->context.stopping = true;
	load->end_us = now_us + load->context.settings->grace_us;
	for (size_t i = 0; i < load->n; i++)
		client_stop(&load->context, &load->clients[i]);
}

/* ---- commands ------------------------------------------------------------------------------- */

static int command_swap_begin(struct load *load, const char *argument)
{
	(void)argument;
	return tally_swap_begin(load->context.tally, client_clock_us());
}

static int command_swap_end(struct load *load, const char *argument)
{
	(void)argument;
	return tally_swap_end(load->context.tally, client_clock_us());
}

static int command_phase(struct load *load, const char *argument)
{
	return tally_phase(load->context.tally, argument, client_clock_us());
}

static int command_report(struct load *load, const char *argument)
{
	(void)argument;
	return summary_json(load->context.tally, load->context.settings, client_clock_us(), true,
			    load->io->output);
}

static int command_stop(struct load *load, const char *argument)
{
	(void)argument;
	stop(load);
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
	int r;

	load->command[load->command_length] = '\0';
	r = load->command_too_long ? -EMSGSIZE : run_command(load, load->command);
	if (r < 0) {
		fprintf(stderr, "hammer: command \"%s\": %s\n", load->command, strerror(-r));
		load->context.tally->commands_refused++;
	}
	load->command_length = 0;
	load->command_too_long = false;
}

static void on_commands(struct load *load)
{
	char buffer[1024];
	ssize_t n = read(load->io->commands, buffer, sizeof(buffer));

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		epoll_ctl(load->context.epoll_fd, EPOLL_CTL_DEL, load->io->commands, NULL);
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
	if (load->context.stopping)
		load->give_up = true;
	stop(load);
}

/* ---- the loop ------------------------------------------------------------------------------- */

/* Milliseconds to wait, rounded up so as not to wake before the time. */
static int wait_ms(const struct load *load, uint64_t now_us)
{
	uint64_t first_us = timers_first(&load->context.timers, NULL);

	if (load->end_us < first_us)
		first_us = load->end_us;
	if (first_us == TIMERS_NEVER)
		return -1;
	if (first_us <= now_us)
		return 0;
	first_us = (first_us - now_us + 999) / 1000;
	return first_us > 60000 ? 60000 : (int)first_us;
}

/* Run the timers that are due. Timers that they set for later wait for the next turn. */
static void run_timers(struct load *load, uint64_t now_us)
{
	struct timers *timers = &load->context.timers;
	size_t owner = 0;

	for (size_t i = 0; i < load->n && timers_first(timers, &owner) <= now_us; i++) {
		timers_set(timers, owner, TIMERS_NEVER);
		client_on_timer(&load->context, &load->clients[owner]);
	}
}

static int turn(struct load *load, struct error *err)
{
	struct epoll_event events[EVENTS_MAX];
	uint64_t now_us = client_clock_us();
	int n = epoll_wait(load->context.epoll_fd, events, EVENTS_MAX, wait_ms(load, now_us));

	if (n < 0 && errno != EINTR)
		return error_set(err, -errno, "epoll_wait");
	for (int i = 0; i < n; i++) {
		uint32_t mark = events[i].data.u32;

		if (mark == MARK_COMMANDS)
			on_commands(load);
		else if (mark == MARK_SIGNALS)
			on_signal(load);
		else
			client_on_event(&load->context, &load->clients[mark], events[i].events);
	}
	now_us = client_clock_us();
	if (!load->context.stopping && now_us >= load->end_us)
		stop(load);
	else if (load->context.stopping && now_us >= load->end_us)
		load->give_up = true;
	run_timers(load, now_us);
	return 0;
}

static int run(struct load *load, struct error *err)
{
	while (!load->context.stopping || load->context.under_way) {
		int r = turn(load, err);

		if (r < 0)
			return r;
		for (size_t i = 0; load->give_up && i < load->n; i++)
			client_give_up(&load->context, &load->clients[i]);
	}
	load->context.tally->end_us = client_clock_us();
	return 0;
}

/* ---- beginning and end ---------------------------------------------------------------------- */

static int watch_input(struct load *load, int fd, uint32_t mark, struct error *err)
{
	struct epoll_event event = {.events = EPOLLIN, .data.u32 = mark};

	if (fd < 0)
		return 0;
	/* EPERM: a file or /dev/null. Its end would come at once, and does not mean "stop". */
	if (epoll_ctl(load->context.epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0 && errno != EPERM)
		return error_set(err, -errno, "epoll_ctl");
	return 0;
}

/*
 * Spread the beginnings of slow POSTs over their duration, and those of keep-alive clients over
 * their pause. So at any time some clients are in each part of a request.
 */
static void start_clients(struct load *load, uint64_t now_us)
{
	const struct settings *settings = load->context.settings;
	const uint64_t spread_us[_KIND_COUNT] = {
		[KIND_KEEPALIVE] = settings->keepalive_pause_us,
		[KIND_POST] = settings->post_duration_us,
	};
	size_t index = 0;

	for (enum kind kind = 0; kind < _KIND_COUNT; kind++) {
		for (uint32_t i = 0; i < settings->clients[kind]; i++, index++) {
			uint64_t delay_us = spread_us[kind] * i / settings->clients[kind];

			client_start(&load->context, &load->clients[index], kind, (uint32_t)index,
				     kind == KIND_IDLE ? NULL : &load->replies[index],
				     now_us + delay_us);
		}
	}
}

static int load_init(struct load *load, struct settings *settings, const struct load_io *io,
		     struct tally *tally, struct error *err)
{
	size_t n = settings_clients(settings);
	size_t n_replies = n - settings->clients[KIND_IDLE];
	int r;

	*load = (struct load){.io = io, .n = n};
	load->context.settings = settings;
	load->context.tally = tally;
	load->context.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (load->context.epoll_fd < 0)
		return error_set(err, -errno, "epoll_create1");
	load->clients = calloc(n, sizeof(*load->clients));
	/* The silent clients come last, and need no reply. */
	load->replies = calloc(n_replies ? n_replies : 1, sizeof(*load->replies));
	load->context.buffer = malloc(2 * CLIENT_BUFFER_SIZE);
	if (!load->clients || !load->replies || !load->context.buffer ||
	    timers_init(&load->context.timers, n) < 0)
		return error_set(err, -ENOMEM, "%zu clients", n);
	load->context.filler = load->context.buffer + CLIENT_BUFFER_SIZE;
	memset(load->context.buffer, 'x', 2 * CLIENT_BUFFER_SIZE);
	r = watch_input(load, io->commands, MARK_COMMANDS, err);
	if (r < 0)
		return error_prefix(err, r, "standard input");
	return watch_input(load, io->signals, MARK_SIGNALS, err);
}

static void load_done(struct load *load)
{
	for (size_t i = 0; load->clients && i < load->n; i++)
		if (load->clients[i].fd > 0)
			close(load->clients[i].fd);
	free(load->clients);
	free(load->replies);
	free(load->context.buffer);
	timers_done(&load->context.timers);
	if (load->context.epoll_fd >= 0)
		close(load->context.epoll_fd);
}

int load_run(struct settings *settings, const struct load_io *io, struct tally *ret_tally,
	     struct error *err)
{
	uint64_t now_us = client_clock_us();
	struct load load;
	int r = tally_init(ret_tally, now_us);

	if (r < 0)
		return error_set(err, r, "tally");
	r = load_init(&load, settings, io, ret_tally, err);
	if (r == 0) {
		load.context.now_us = now_us;
		load.end_us = settings->duration_us ? now_us + settings->duration_us : TIMERS_NEVER;
		start_clients(&load, now_us);
		r = run(&load, err);
	}
	load_done(&load);
	if (r < 0)
		tally_done(ret_tally);
	return r;
}
