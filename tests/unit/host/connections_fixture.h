/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * connections_fixture: an instance made of real children of this process, which hold the server's
 * ends of real connections. Set up by connections_set_up() and connections_tear_down().
 *
 * Defines everything: for one source file per program.
 */
#pragma once

#include "tests/unit/common/diag_fixture.h"

#include <dirent.h>
#include <sys/prctl.h>

#include "common/clock.h"
#include "orchestrator/host/connections.h"

#define DEADLINE_MS 10000
#define OTHER_PORT  (PORT + 1)
#define CHILDREN    4

static struct processes *processes;
static struct address listen_to[3];
static struct connections_of of;
static pid_t children[CHILDREN];
static size_t n_children;

/* ---- children ------------------------------------------------------------------------------- */

/* Keeps descriptors @held, and none of those that were inherited besides. */
static inline void __attribute__((noreturn)) hold(const int *held, size_t n, int ready_fd)
{
	DIR *dir = opendir("/proc/self/fd");
	struct dirent *entry;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	while (dir && (entry = readdir(dir))) {
		int fd = atoi(entry->d_name);
		bool keep_it = fd <= 2 || fd == ready_fd || fd == dirfd(dir);

		for (size_t k = 0; k < n; k++)
			keep_it |= fd == held[k];
		if (!keep_it)
			close(fd);
	}
	if (!dir || write(ready_fd, "", 1) != 1)
		_exit(1);
	closedir(dir);
	close(ready_fd);
	for (;;)
		pause();
}

/* A child that holds them, or (@below) one whose own child does. */
static inline void start_holder(const int *held, size_t n, bool below)
{
	int ready[2];
	pid_t pid;
	char byte;

	assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		if (below && fork() > 0)
			hold(NULL, 0, ready[1]);
		hold(held, n, ready[1]);
	}
	assert_true(n_children < CHILDREN);
	children[n_children++] = pid;
	close(ready[1]);
	for (int k = 0; k < (below ? 2 : 1); k++)
		assert_int_equal(read(ready[0], &byte, 1), 1);
	close(ready[0]);
}

static inline void end_holders(void)
{
	/* Whom a child has left behind ends by PR_SET_PDEATHSIG. */
	while (n_children > 0) {
		kill(children[--n_children], SIGKILL);
		assert_int_equal(waitpid(children[n_children], NULL, 0), children[n_children]);
	}
}

/* ---- life ----------------------------------------------------------------------------------- */

static inline int connections_set_up(void **state)
{
	static const char *const texts[] = {"127.0.0.1:4711", "[::]:4711", "127.0.0.1:4712"};

	for (size_t k = 0; k < sizeof(texts) / sizeof(texts[0]); k++)
		assert_int_equal(address_parse(texts[k], &listen_to[k], NULL), 0);
	assert_int_equal(processes_new(NULL, getpid(), &processes), 0);
	if (setup(state) < 0)
		return -1;
	of = (struct connections_of){
		.diag = diag,
		.listen = listen_to,
		.n_listen = 1,
		.processes = processes,
	};
	return 0;
}

static inline int connections_tear_down(void **state)
{
	end_holders();
	processes_free(processes);
	return teardown_cgroup(state);
}

#define wait_until(condition)                                                                      \
	do {                                                                                       \
		uint64_t deadline_ = clock_monotonic_ms() + DEADLINE_MS;                           \
                                                                                                   \
		while (!(condition)) {                                                             \
			if (clock_monotonic_ms() >= deadline_)                                     \
				fail_msg("never: %s", #condition);                                 \
			usleep(1000);                                                              \
		}                                                                                  \
	} while (0)

/* The server's end of a new connection; the client's is *ret_client. */
static inline int connect_one(int listener, uint16_t port, int *ret_client)
{
	int client = make_client(port);

	if (ret_client)
		*ret_client = client;
	return accept_one(listener);
}

/*
 * A listener in a cgroup of its own: from now on the instance is the cgroup, and its processes are
 * not known. The test is skipped where there is none.
 */
static inline int make_listener_as_instance(void)
{
	struct stat st;
	int listener;

	if (!find_cgroup_mount(cgroup_path, sizeof(cgroup_path)) || mkdir(cgroup_path, 0755) < 0) {
		print_message("skipped: no cgroup v2 to write to\n");
		skip();
	}
	assert_int_equal(stat(cgroup_path, &st), 0);
	listener = make_listener_in_cgroup(cgroup_path);
	of.processes = NULL;
	of.cgroup_id = st.st_ino;
	return listener;
}
