/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What an agent does by itself while batond says when its server listens (ORDER_LOOK), and when
 * nobody does.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "tests/unit/agent/agent_fixture.h"

/* A glance comes each 700 ms: what has gone is noticed within a second. */
#define WINDOW_MS 3000
#define WAKES_MAX 6

static const struct order look = {.type = ORDER_LOOK};

static unsigned long count_wakes(const struct fixture *fixture)
{
	char path[64], line[128];
	unsigned long n = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)fixture->agent);
	file = fopen(path, "re");
	assert_non_null(file);
	while (fgets(line, sizeof(line), file))
		(void)sscanf(line, "voluntary_ctxt_switches: %lu", &n);
	fclose(file);
	return n;
}

static void run_for(struct fixture *fixture, uint64_t ms)
{
	uint64_t end_ms = clock_monotonic_ms() + ms;

	while (clock_monotonic_ms() < end_ms)
		assert_true(sd_event_run(fixture->event, 10000) >= 0);
}

/* How often it wakes up in a while, once that has become less than @most. */
static void need_few_wakes(struct fixture *fixture, unsigned long most)
{
	uint64_t end_ms = clock_monotonic_ms() + 3 * DEADLINE_MS;
	unsigned long n, before;

	do {
		if (clock_monotonic_ms() > end_ms)
			fail_msg("%lu wake-ups in %d ms", n, WINDOW_MS);
		before = count_wakes(fixture);
		run_for(fixture, WINDOW_MS);
		n = count_wakes(fixture) - before;
	} while (n > most);
}

/* SIGUSR1: another socket; SIGUSR2: close the last one. */
static const char sockets_come_and_go[] =
	"s = [bind(7001)]\n"
	"signal.signal(signal.SIGUSR1, lambda *_: s.append(bind(7001)))\n"
	"signal.signal(signal.SIGUSR2, lambda *_: s.pop().close())\n"
	"while True:\n"
	"    time.sleep(0.1)\n";

static void test_agent_hinted_hardly_wakes_up(void **data)
{
	struct fixture *fixture = *data;

	start(fixture, sockets_come_and_go);
	order(fixture, &look);
	AWAIT(fixture, count_set(fixture, 0, true) == 1);
	need_few_wakes(fixture, WAKES_MAX);
	/* What comes is found, and what goes. */
	kill(fixture->pid, SIGUSR1);
	AWAIT(fixture, count_listening() == 2);
	order(fixture, &look);
	AWAIT(fixture, count_set(fixture, 0, true) == 2);
	kill(fixture->pid, SIGUSR2);
	AWAIT(fixture, count_set(fixture, 0, true) == 1);
}

/* The hint may come before the socket listens: inet_listen() asks first. */
static void test_agent_hinted_looks_on_for_a_moment(void **data)
{
	struct fixture *fixture = *data;

	start(fixture, sockets_come_and_go);
	order(fixture, &look);
	AWAIT(fixture, count_set(fixture, 0, true) == 1);
	for (size_t n = 2; n < 5; n++) {
		order(fixture, &look);
		kill(fixture->pid, SIGUSR1);
		AWAIT(fixture, count_set(fixture, 0, true) == n);
	}
}

/* Its daemon has gone: it must look by itself. The next one hears that hints are to be had. */
static void test_agent_unhinted_looks_by_itself(void **data)
{
	struct fixture *fixture = *data;

	start(fixture, sockets_come_and_go);
	assert_true(fixture->heard[REPORT_HELLO].looks);
	assert_false(fixture->heard[REPORT_HELLO].hinted);
	order(fixture, &look);
	AWAIT(fixture, count_set(fixture, 0, true) == 1);
	fixture_connect(fixture);
	assert_true(fixture->heard[REPORT_HELLO].hinted);
	for (size_t n = 2; n < 5; n++) {
		kill(fixture->pid, SIGUSR1);
		AWAIT(fixture, count_set(fixture, 0, true) == n);
	}
}

/* A worker with a socket of its own ends: nobody but its pidfd tells. */
static void test_agent_hinted_worker_that_ends_is_noticed(void **data)
{
	struct fixture *fixture = *data;

	start(fixture, "s = bind(7001)\n"
		       "if os.fork() == 0:\n"
		       "    s.close()\n"
		       "    s = bind(7001)\n"
		       "    signal.signal(signal.SIGUSR1, lambda *_: os._exit(0))\n"
		       "    while True:\n"
		       "        time.sleep(0.1)\n"
		       "signal.signal(signal.SIGUSR1, signal.SIG_IGN)\n"
		       "serve([s])\n");
	order(fixture, &look);
	AWAIT(fixture, count_set(fixture, 0, true) == 2);
	order(fixture, &look);
	need_few_wakes(fixture, WAKES_MAX);
	assert_int_equal(kill(-fixture->pid, SIGUSR1), 0);
	AWAIT(fixture, count_set(fixture, 0, true) == 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST_CGROUP(test_agent_hinted_hardly_wakes_up),
		TEST(test_agent_hinted_looks_on_for_a_moment),
		TEST(test_agent_unhinted_looks_by_itself),
		TEST(test_agent_hinted_worker_that_ends_is_noticed),
	};

	return fixture_run(tests);
}
