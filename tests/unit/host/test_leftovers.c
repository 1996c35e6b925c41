/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "orchestrator/host/leftovers.h"
#include "tests/unit/fakes/folder.h"

static struct paths paths;
static char pins_dir[PATHS_MAX];
static struct leftovers left;
static struct error err;

static void make_folder(const char *name)
{
	assert_int_equal(mkdir(in_folder(name), 0755), 0);
}

/* The folders of a daemon; its cgroups are nowhere. */
static int set_up(void **state)
{
	if (folder_set_up(state) < 0)
		return -1;
	memset(&paths, 0, sizeof(paths));
	snprintf(paths.name, sizeof(paths.name), "test-leftovers-%d", (int)getpid());
	strcpy(paths.run_dir, in_folder("run"));
	strcpy(paths.lock_file, in_folder("run/lock"));
	strcpy(paths.api_socket, in_folder("run/api.sock"));
	strcpy(paths.agents_dir, in_folder("run/agents"));
	strcpy(paths.state_dir, in_folder("state"));
	strcpy(paths.state_file, in_folder("state/state.json"));
	strcpy(pins_dir, in_folder("pins"));
	make_folder("run");
	make_folder("run/agents");
	make_folder("run/tell");
	make_folder("state");
	make_folder("pins");
	return 0;
}

static int tear_down(void **state)
{
	leftovers_done(&left);
	return folder_tear_down(state);
}

/* The socket of an agent that runs: the descriptor. */
static int listen_at(const char *name)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	assert_true(fd >= 0);
	strcpy(address.sun_path, in_folder(name));
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(fd, 1), 0);
	return fd;
}

/* An agent of instance @id, and what else there is of it and of its service. */
static int make_instance(const char *id, const char *service)
{
	char name[128];
	int fd;

	snprintf(name, sizeof(name), "run/agents/%s.sock", id);
	fd = listen_at(name);
	snprintf(name, sizeof(name), "run/tell/%s", id);
	make_folder(name);
	snprintf(name, sizeof(name), "run/tell/%s/baton", id);
	write_file(name, "", 0600);
	snprintf(name, sizeof(name), "run/rollouts.%s.json", service);
	write_file(name, "{}", 0600);
	snprintf(name, sizeof(name), "pins/%s", service);
	make_folder(name);
	snprintf(name, sizeof(name), "pins/%s/tcp-127_0_0_1-80", service);
	make_folder(name);
	snprintf(name, sizeof(name), "pins/%s/tcp-127_0_0_1-80/slots", service);
	write_file(name, "", 0600);
	return fd;
}

static bool exists(const char *name)
{
	return access(in_folder(name), F_OK) == 0;
}

static const struct leftovers_item *item(const char *name)
{
	const char *path = in_folder(name);

	for (size_t k = 0; k < left.n_items; k++)
		if (strcmp(left.items[k].path, path) == 0)
			return &left.items[k];
	return NULL;
}

static void look(bool state)
{
	leftovers_done(&left);
	if (leftovers_find(&paths, pins_dir, state, &left, &err) < 0)
		fail_msg("%s", err.text);
}

static void test_leftovers_of_nobody_are_all_removed(void **state)
{
	(void)state;
	close(make_instance("web.1.0", "web"));
	write_file("run/api.sock", "", 0600);
	look(false);
	assert_int_equal(leftovers_living(&left), 0);
	leftovers_remove(&left);
	for (size_t k = 0; k < left.n_items; k++)
		assert_true(left.items[k].removed);
	assert_false(exists("run/agents"));
	assert_false(exists("run/tell"));
	assert_false(exists("run/rollouts.web.json"));
	assert_false(exists("pins/web"));
	assert_int_equal(rmdir(paths.run_dir), 0);
}

static void test_leftovers_of_what_lives_stay(void **state)
{
	int fd = make_instance("web.1.0", "web");

	(void)state;
	close(make_instance("api.2.1", "api"));
	look(true);
	assert_int_equal(leftovers_living(&left), 1);
	assert_string_equal(item("run/agents/web.1.0.sock")->kept, "web.1.0 lives");
	assert_string_equal(item("pins/web")->kept, "web lives");
	leftovers_remove(&left);
	assert_true(exists("run/agents/web.1.0.sock"));
	assert_true(exists("run/tell/web.1.0/baton"));
	assert_true(exists("run/rollouts.web.json"));
	assert_true(exists("pins/web/tcp-127_0_0_1-80/slots"));
	assert_false(exists("run/agents/api.2.1.sock"));
	assert_false(exists("run/tell/api.2.1"));
	assert_false(exists("pins/api"));
	/* It was asked in a way that it has not noticed. */
	assert_int_equal(accept(fd, NULL, NULL), -1);
	close(fd);
}

static void test_leftovers_that_baton_does_not_make_stay(void **state)
{
	static const char *const theirs[] = {"run/theirs.pid", "run/agents/notes",
					     "state/data.json", "pins/theirs/map"};

	(void)state;
	make_folder("pins/theirs");
	for (size_t k = 0; k < sizeof(theirs) / sizeof(theirs[0]); k++)
		write_file(theirs[k], "x", 0600);
	look(true);
	leftovers_remove(&left);
	for (size_t k = 0; k < sizeof(theirs) / sizeof(theirs[0]); k++)
		assert_true(exists(theirs[k]));
	/* A folder that has something of theirs cannot go, which is said. */
	assert_true(item("run/agents")->failed);
	assert_string_equal(item("run/agents")->kept, strerror(ENOTEMPTY));
}

static void test_leftovers_state_goes_only_if_that_is_wanted(void **state)
{
	(void)state;
	write_file("state/state.json", "{}", 0600);
	write_file("state/events.jsonl.1", "", 0600);
	make_folder("state/history");
	write_file("state/history/web.json", "{}", 0600);
	look(false);
	assert_non_null(strstr(item("state/state.json")->kept, "--state"));
	leftovers_remove(&left);
	assert_true(exists("state/history/web.json"));
	look(true);
	leftovers_remove(&left);
	assert_false(exists("state"));
}

static bool knows_web(void *userdata, const char *service)
{
	(void)userdata;
	return strcmp(service, "web") == 0;
}

static void test_leftovers_beside_a_daemon_are_what_nobody_knows(void **state)
{
	(void)state;
	close(make_instance("web.1.0", "web"));
	close(make_instance("api.1.0", "api"));
	write_file("run/api.sock", "", 0600);
	look(false);
	leftovers_keep(&left, "", knows_web, NULL);
	leftovers_remove(&left);
	/* Of the service that it knows only the instance is gone. */
	assert_false(exists("run/agents/web.1.0.sock"));
	assert_false(exists("run/tell/web.1.0"));
	assert_true(exists("run/rollouts.web.json"));
	assert_true(exists("pins/web"));
	assert_false(exists("run/rollouts.api.json"));
	assert_false(exists("pins/api"));
	assert_true(exists("run/api.sock"));
	assert_true(exists("run/agents"));
}

static void test_leftovers_without_any_folder_are_none(void **state)
{
	(void)state;
	strcpy(paths.run_dir, in_folder("nowhere"));
	strcpy(paths.agents_dir, in_folder("nowhere/agents"));
	look(true);
	assert_int_equal(left.n_items, 0);
	assert_int_equal(left.n_instances, 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_leftovers_of_nobody_are_all_removed),
		TEST(test_leftovers_of_what_lives_stay),
		TEST(test_leftovers_that_baton_does_not_make_stay),
		TEST(test_leftovers_state_goes_only_if_that_is_wanted),
		TEST(test_leftovers_beside_a_daemon_are_what_nobody_knows),
		TEST(test_leftovers_without_any_folder_are_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
