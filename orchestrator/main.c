/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * batond: the daemon. This file only parses arguments and wires the modules together.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <jansson.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/duration.h"
#include "common/json_memory.h"
#include "common/log.h"
#include "common/open_files.h"
#include "orchestrator/config/config.h"
#include "orchestrator/instance/instances.h"
#include "orchestrator/daemon.h"
#include "orchestrator/doctor/doctor.h"
#include "orchestrator/host/capabilities.h"
#include "orchestrator/host/command_leaf.h"
#include "orchestrator/host/first.h"
#include "orchestrator/host/lock.h"
#include "orchestrator/host/writer.h"
#include "orchestrator/service/service.h"
#include "orchestrator/steer/steer.h"

#define DEFAULT_CONFIG  "/etc/baton/baton.json"
#define DEFAULT_DROPINS "/etc/baton/conf.d"

enum { EXIT_ERROR = 1, EXIT_USAGE = 2 };

struct options {
	const char *name;
	const char *config;
	const char *dropins;
	uint64_t agent_timeout_ms;
	bool check, doctor, json, single, verbose;
	bool clean, yes, state; /* of the doctor */
};

static void usage(FILE *out)
{
	fputs("Usage: batond [-n NAME] [-c FILE]\n"
	      "       batond --check [FILE] [--json]\n"
	      "       batond --doctor [--json]\n"
	      "       batond --clean [--yes] [--state] [-n NAME] [--json]\n"
	      "\n"
	      "Keeps the services of FILE running and replaces them without losing a connection.\n"
	      "Without -c: " DEFAULT_CONFIG " and " DEFAULT_DROPINS "/*.json.\n"
	      "\n"
	      "  -n, --name NAME   which daemon this is (default: $BATON_NAME, else \"baton\")\n"
	      "  -c, --config FILE configuration; of a folder its baton.json and conf.d/*.json\n"
	      "      --check       say what is wrong with FILE, touch nothing\n"
	      "      --doctor      try what of the kernel baton needs, and say what works\n"
	      "      --clean       list what a batond of that name has left that was killed\n"
	      "      --yes         with --clean: remove it\n"
	      "      --state       with --clean: also its state, which outlives it on purpose\n"
	      "      --json        with --check, --doctor or --clean: the result as JSON\n"
	      "      --run         one service in the foreground (for `baton run`)\n"
	      "      --agent-timeout TIME  end an agent that has not answered for so long (60s)\n"
	      "  -v, --verbose     log more\n"
	      "      --version     print the version\n"
	      "\n"
	      "Signals: HUP re-reads the configuration and rolls what changed; TERM and INT drain\n"
	      "and stop everything; a second one stops at once. USR2 leaves: batond ends, everything\n"
	      "else goes on, and the next batond takes it over.\n",
	      out);
}

/* Instead of both defaults. */
static void set_file(struct options *options, const char *file)
{
	options->config = file;
	options->dropins = NULL;
}

#define AGENT_TIMEOUT_MIN_MS 1000
#define AGENT_TIMEOUT_MAX_MS (60 * 60 * 1000)

/* Returns 0 or a negative errno. */
static int parse_agent_timeout(struct options *options, const char *text)
{
	int r = duration_parse(text, &options->agent_timeout_ms);

	if (r == 0 && options->agent_timeout_ms >= AGENT_TIMEOUT_MIN_MS &&
	    options->agent_timeout_ms <= AGENT_TIMEOUT_MAX_MS)
		return 0;
	fprintf(stderr,
		"batond: --agent-timeout: \"%s\" is not a duration between 1s and 1h, such as "
		"\"60s\"\n",
		text);
	return -EINVAL;
}

enum {
	OPT_CHECK = 256,
	OPT_DOCTOR,
	OPT_CLEAN,
	OPT_YES,
	OPT_STATE,
	OPT_JSON,
	OPT_RUN,
	OPT_VERSION,
	OPT_AGENT_TIMEOUT,
};

/* False: @c is no option without a value. */
static bool set_flag(struct options *options, int c)
{
	const struct {
		int c;
		bool *flag;
	} flags[] = {
		{OPT_DOCTOR, &options->doctor}, {OPT_CLEAN, &options->clean},
		{OPT_YES, &options->yes},       {OPT_STATE, &options->state},
		{OPT_JSON, &options->json},     {OPT_RUN, &options->single},
		{'v', &options->verbose},
	};

	for (size_t k = 0; k < sizeof(flags) / sizeof(flags[0]); k++) {
		if (flags[k].c != c)
			continue;
		*flags[k].flag = true;
		return true;
	}
	return false;
}

/* Returns -1 to go on, else the exit status. */
static int parse_options(int argc, char **argv, struct options *ret)
{
	static const struct option longs[] = {
		{"name", required_argument, NULL, 'n'},
		{"config", required_argument, NULL, 'c'},
		{"check", optional_argument, NULL, OPT_CHECK},
		{"doctor", no_argument, NULL, OPT_DOCTOR},
		{"clean", no_argument, NULL, OPT_CLEAN},
		{"yes", no_argument, NULL, OPT_YES},
		{"state", no_argument, NULL, OPT_STATE},
		{"json", no_argument, NULL, OPT_JSON},
		{"run", no_argument, NULL, OPT_RUN},
		{"agent-timeout", required_argument, NULL, OPT_AGENT_TIMEOUT},
		{"verbose", no_argument, NULL, 'v'},
		{"version", no_argument, NULL, OPT_VERSION},
		{"help", no_argument, NULL, 'h'},
		{},
	};
	int c;

	*ret = (struct options){.config = DEFAULT_CONFIG, .dropins = DEFAULT_DROPINS};
	while ((c = getopt_long(argc, argv, "n:c:vh", longs, NULL)) != -1) {
		switch (c) {
		case 'n':
			ret->name = optarg;
			break;
		case OPT_CHECK:
			ret->check = true;
			if (optarg)
				set_file(ret, optarg);
			break;
		case 'c':
			set_file(ret, optarg);
			break;
		case OPT_AGENT_TIMEOUT:
			if (parse_agent_timeout(ret, optarg) < 0)
				return EXIT_USAGE;
			break;
		case OPT_VERSION:
			puts("batond " BATON_VERSION);
			return 0;
		case 'h':
			usage(stdout);
			return 0;
		default:
			if (set_flag(ret, c))
				break;
			usage(stderr);
			return EXIT_USAGE;
		}
	}
	if (ret->check && optind < argc)
		set_file(ret, argv[optind++]);
	if (optind < argc) {
		fprintf(stderr, "batond: there is no argument \"%s\" (see batond --help)\n",
			argv[optind]);
		return EXIT_USAGE;
	}
	return -1;
}

/* ---- --check -------------------------------------------------------------------------------- */

static void print_mistakes(const struct config_mistakes *mistakes, bool json)
{
	if (json) {
		json_t *array = json_array();
		json_t *whole;

		for (size_t k = 0; k < mistakes->n; k++)
			json_array_append_new(array, json_string(mistakes->list[k].text));
		whole = json_pack("{s:b, s:I, s:o}", "ok", mistakes->total == 0, "total",
				  (json_int_t)mistakes->total, "mistakes", array);
		json_dumpf(whole, stdout, JSON_INDENT(2));
		putchar('\n');
		json_decref(whole);
		return;
	}
	for (size_t k = 0; k < mistakes->n; k++)
		fprintf(stderr, "%s\n", mistakes->list[k].text);
	if (mistakes->total > mistakes->n)
		fprintf(stderr, "... and %zu more\n", mistakes->total - mistakes->n);
}

static int check(const struct options *options)
{
	cleanup(config_free) struct config *config = NULL;
	static struct config_mistakes mistakes;
	int r = config_load(options->config, options->dropins, &config, &mistakes);

	if (r < 0 || options->json)
		print_mistakes(&mistakes, options->json);
	else
		printf("%s%s%s: ok, %zu service%s\n", options->config,
		       options->dropins ? " and " : "", options->dropins ? options->dropins : "",
		       config->n_services, config->n_services == 1 ? "" : "s");
	return r < 0 ? EXIT_ERROR : 0;
}

static int clean(const struct options *options)
{
	const struct doctor_clean_options clean_options = {
		.name = options->name,
		.remove = options->yes,
		.state = options->state,
		.json = options->json,
	};

	return doctor_clean(&clean_options);
}

/* ---- running -------------------------------------------------------------------------------- */

/* What a service does wrong does not stop the others; if nothing can be started, all is printed. */
static int load(const struct options *options, struct config **ret)
{
	static struct config_mistakes mistakes;
	int r;

	if (options->single)
		r = config_load(options->config, options->dropins, ret, &mistakes);
	else
		r = config_load_start(options->config, options->dropins, ret, &mistakes);
	if (r < 0) {
		print_mistakes(&mistakes, false);
		return r;
	}
	for (size_t k = 0; k < mistakes.n; k++)
		log_error("%s", mistakes.list[k].text);
	return 0;
}

/* In /tmp anybody can make a folder of that name, and then read and replace its files. */
static int check_owner(const char *folder, struct error *err)
{
	struct stat st;

	if (lstat(folder, &st) < 0)
		return error_set(err, -errno, "%s", folder);
	if (!S_ISDIR(st.st_mode) || st.st_uid != geteuid() || (st.st_mode & 0022))
		return error_text(err, -EPERM,
				  "%s: is not a folder that only this user (uid %u) can write to",
				  folder, (unsigned)geteuid());
	return 0;
}

static int make_run_dir(const struct paths *paths, struct error *err)
{
	int code = mkdir(paths->run_dir, 0755) < 0 && errno != EEXIST ? -errno : 0;

	if (code == -EROFS || code == -EACCES || code == -ENOENT)
		return error_text(err, code,
				  "mkdir %s: %s: batond has its sockets there: make the folder "
				  "above it writable, with a tmpfs for instance (docker: --tmpfs "
				  "/run; Kubernetes: an emptyDir)",
				  paths->run_dir, strerror(-code));
	if (code < 0)
		return error_set(err, code, "mkdir %s", paths->run_dir);
	return check_owner(paths->run_dir, err) < 0 ? -EPERM : 0;
}

/* An earlier daemon that is about to end gets so long, and removes its folder so many times. */
#define LOCK_WAIT_MS 3000
#define LOCK_TRIES   4

/* Before anything else is touched: two daemons of one name would undo each other's work. */
static int lock_name(const struct paths *paths, int *ret_fd, struct error *err)
{
	int r = -ESTALE;

	for (int k = 0; k < LOCK_TRIES && r == -ESTALE; k++) {
		r = make_run_dir(paths, err);
		if (r == 0)
			r = lock_take(paths->lock_file, LOCK_WAIT_MS, ret_fd, err);
	}
	return r;
}

static int make_dirs(const struct paths *paths, struct error *err)
{
	if (mkdir(paths->agents_dir, 0700) < 0 && errno != EEXIST)
		return error_set(err, -errno, "mkdir %s", paths->agents_dir);
	return 0;
}

/* Without cgroups instances are followed by their agents' descendants, commands by their groups. */
static void open_cgroup(struct context *c)
{
	struct error err;
	int r = cgroup_base(c->paths.name, c->cgroup_base, &err);

	if (r >= 0)
		return;
	c->cgroup_base[0] = '\0';
	snprintf(c->no_cgroup, sizeof(c->no_cgroup), "%.150s: %s", err.text, cgroup_how(r));
	log_info("instances, hooks, gates and checks get no cgroups: %s", c->no_cgroup);
}

/* Before the first agent is started, which would be in the way as much as this process is. */
static void make_room_for_limits(struct context *c, const struct config *config)
{
	bool limits = false;
	struct error err;

	for (size_t k = 0; k < config->n_services; k++) {
		const struct cgroup_limits *r = &config->services[k].resources;

		limits |= r->memory_max || r->cpu_max || r->pids_max;
	}
	if (!limits || !c->cgroup_base[0])
		return;
	c->stepped_aside = cgroup_step_aside(c->cgroup_base, &err) >= 0;
	if (!c->stepped_aside)
		log_warning("\"resources\" may not work: %s", err.text);
}

/*
 * Of the version that this daemon is, whatever a package puts in its place meanwhile: the file is
 * kept open, and executed by its descriptor.
 */
static int open_agent(struct context *c, struct error *err)
{
	char path[PATHS_MAX];
	int fd, r;

	r = paths_program("baton-agent", path, sizeof(path), err);
	if (r < 0)
		return r;
	fd = open(path, O_PATH | O_CLOEXEC);
	if (fd < 0)
		return error_set(err, -errno, "%s", path);
	snprintf(c->agent_program, sizeof(c->agent_program), "/proc/self/fd/%d", fd);
	return 0;
}

/* Hooks, gates and checks end with the daemon that has begun them. */
static void sweep_commands(const struct context *c)
{
	if (c->cgroup_base[0])
		command_leaf_sweep(c->cgroup_base, c->removals);
}

static int open_context(struct context *c, const struct options *options, int *ret_lock,
			struct error *err)
{
	int r;

	r = paths_init(options->name, &c->paths, err);
	if (r == 0)
		r = lock_name(&c->paths, ret_lock, err);
	if (r < 0)
		return r;
	r = open_agent(c, err);
	if (r < 0)
		return r;
	r = make_dirs(&c->paths, err);
	if (r < 0)
		return r;
	r = sd_event_default(&c->event);
	if (r < 0)
		return error_set(err, r, "event loop");
	/* If systemd asks for it (WatchdogSec=): a loop that hangs is ended, and started anew. */
	r = sd_event_set_watchdog(c->event, true);
	if (r < 0)
		log_warning("systemd's watchdog cannot be served: %s", strerror(-r));
	r = state_open(c->paths.state_file, &c->state, err);
	if (r < 0)
		return r;
	if (r > 0)
		log_warning("%s", err->text);
	r = writer_new(c->event, *ret_lock, &c->writer, err);
	if (r < 0)
		return r;
	r = state_keep(c->state, c->event, c->writer, c->paths.spare_file, err);
	if (r < 0)
		return r;
	if (r > 0)
		log_warning("%s", err->text);
	open_cgroup(c);
	r = removals_new(c->event, &c->removals, err);
	if (r < 0)
		return r;
	/* What a daemon that was killed has left: nobody else has kept its deadlines. */
	sweep_commands(c);
	removals_keep(c->removals, c->cgroup_base);
	tiers_try(c->paths.name, &c->tiers);
	r = diag_open(&c->diag, err);
	if (r < 0)
		return r;
	r = occupants_new(c->diag, &c->occupants);
	if (r < 0)
		return error_set(err, r, "occupants");
	return prober_new(c->event, &c->prober, err);
}

static void open_inspect(struct context *c)
{
	struct error err;

	/* Only the ebpf tier has a program that can be looked for. */
	if (c->tiers.list[STEER_EBPF].works && inspect_open(&c->inspect, &err) < 0)
		log_warning("the program of a reuseport group cannot be checked here: %s",
			    err.text);
}

/* For so long the end waits for cgroups that are still busy; the next daemon removes them, too. */
#define LAST_WAIT_MS 500

/*
 * Call this only if the API was open: then everything of this name is this daemon's own. @pins: so
 * are the pins, which a daemon in another container may have.
 */
static void remove_traces(const struct context *c, bool pins)
{
	/* The folder of the agents is empty if none is left; those that live keep theirs. */
	if (c->cgroup_base[0]) {
		if (c->stepped_aside)
			cgroup_step_back(c->cgroup_base);
		/* What was killed just now may still have threads that are ending. */
		cgroup_wait_empty(c->cgroup_base, LAST_WAIT_MS);
		cgroup_remove(c->cgroup_base);
	}
	if (rmdir(c->paths.agents_dir) == 0) {
		if (pins)
			bpffs_sweep(c->paths.name);
		/* A successor that waits for the lock makes the folder anew. */
		lock_remove(c->paths.lock_file);
		rmdir(c->paths.run_dir);
	}
}

static void close_context(struct context *c)
{
	tiers_done(&c->tiers);
	inspect_free(c->inspect);
	removals_free(c->removals);
	prober_free(c->prober);
	occupants_free(c->occupants);
	diag_free(c->diag);
	if (c->writer)
		writer_finish(c->writer, WRITER_TIMEOUT_MS);
	state_free(c->state);
	writer_free(c->writer);
	sd_event_unref(c->event);
}

static void block_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGUSR2);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
}

/* Before anything is read that others have written. */
static void reduce_capabilities(void)
{
	int r = capabilities_reduce();

	if (r < 0)
		log_warning("capabilities that are not needed are kept: %s", strerror(-r));
	capabilities_tell_missing();
}

/* @lock: of the name. */
static int serve(struct context *context, const struct options *options, int lock,
		 struct config *config, bool *ret_mine, struct error *err)
{
	cleanup(daemon_free) struct daemon *daemon = NULL;
	struct daemon_options daemon_options = {
		.config_file = options->config,
		.dropins = options->dropins,
		.single = options->single,
		.lock_fd = lock,
	};
	int r;

	r = daemon_new(context, config, &daemon_options, &daemon, err);
	if (r < 0)
		return r;
	*ret_mine = true;
	daemon_start(daemon);
	r = loop_run(context->event, &context->loop);
	if (r < 0)
		return error_set(err, r, "event loop");
	if (daemon_is_leaving(daemon)) {
		daemon_close_api(daemon);
		sweep_commands(context);
		daemon_finish_events(daemon);
		writer_finish(context->writer, WRITER_TIMEOUT_MS);
		exit(daemon_exit_status(daemon));
	}
	return daemon_exit_status(daemon);
}

/*
 * Blocks from this size on are mapped one by one: pages that are never touched cost nothing, and
 * those of a block that is freed go back at once. Left to itself, malloc(3) raises its thresholds
 * to the size of the largest block that was freed, here the kernel's BTF of 5 MB; from then on all
 * comes from the heap, which gives back nothing.
 */
#define MAPPED_SIZE  (64 * 1024)
#define TRIMMED_SIZE (128 * 1024)

static void keep_memory_small(void)
{
	(void)mallopt(M_MMAP_THRESHOLD, MAPPED_SIZE);
	(void)mallopt(M_TRIM_THRESHOLD, TRIMMED_SIZE);
}

int main(int argc, char **argv)
{
	struct context context = {};
	struct config *config = NULL;
	struct options options;
	bool mine = false, pins;
	struct error err;
	int r, lock = -1;

	r = parse_options(argc, argv, &options);
	if (r >= 0)
		return r;
	if (options.check)
		return check(&options);
	if (options.doctor)
		return doctor_main(options.json);
	if (options.clean)
		return clean(&options);
	log_init(options.single ? "baton" : "batond",
		 options.verbose ? LOG_LEVEL_DEBUG : LOG_LEVEL_INFO);
	if (first_step_aside(&err) < 0) {
		log_error("%s", err.text);
		return EXIT_ERROR;
	}
	reduce_capabilities();
	if (load(&options, &config) < 0)
		return EXIT_ERROR;
	keep_memory_small();
	json_memory_watch();
	if (options.agent_timeout_ms > 0)
		agentlink_set_deadline((uint32_t)options.agent_timeout_ms);
	block_signals();
	/* Each endpoint takes about ten descriptors. */
	open_files_raise();
	steer_log_init();
	r = open_context(&context, &options, &lock, &err);
	if (r >= 0) {
		open_inspect(&context);
		make_room_for_limits(&context, config);
		r = serve(&context, &options, lock, config, &mine, &err);
	} else {
		config_free(config);
	}
	if (r < 0)
		log_error("%s", err.text);
	pins = context.tiers.pins_fd >= 0;
	close_context(&context);
	if (mine)
		remove_traces(&context, pins);
	if (lock >= 0)
		close(lock);
	return r < 0 ? EXIT_ERROR : r;
}
