/* SPDX-License-Identifier: BSD-2-Clause */
/* What a generation makes of its instances, which are fakes. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <sys/stat.h>

#include "common/clock.h"
#include "orchestrator/instance/generation.h"
#include "common/vector.h"
#include "tests/unit/fakes/fake_instances.h"

static struct context context;
static const struct wiring wiring;
static const struct instance_callbacks callbacks;
static struct generation *g;
static struct error err;

static struct service_config *make_config(void)
{
	struct health_config check = {.kind = HEALTH_KIND_HTTP};
	struct service_config config = {.name = (char *)"web",
					.n_listen = 2,
					.instances = 3,
					.health = {.list = &check, .n = 1}};
	struct service_config *copy;

	assert_int_equal(address_parse("127.0.0.1:80", &config.listen[0], NULL), 0);
	assert_int_equal(address_parse("127.0.0.1:81", &config.listen[1], NULL), 0);
	copy = service_config_copy(&config);
	assert_non_null(copy);
	return copy;
}

static struct release *make_release(void)
{
	struct release *release = calloc(1, sizeof(*release));

	assert_non_null(release);
	release->executable = strdup("/bin/web");
	release->directory = strdup("/");
	return release;
}

static int set_up(void **state)
{
	(void)state;
	fake_instances_reset();
	forget_calls();
	return generation_new(&context, 7, make_config(), make_release(), &wiring, &callbacks, &err,
			      &g, &err);
}

static int tear_down(void **state)
{
	(void)state;
	generation_free(g);
	g = NULL;
	assert_int_equal(fake_instances_alive(), 0);
	return 0;
}

static struct instance *add(void)
{
	struct instance *i;

	assert_int_equal(generation_add(g, &i, &err), 0);
	return i;
}

/* ---- making --------------------------------------------------------------------------------- */

static void test_generation_new_has_no_instances(void **state)
{
	(void)state;
	assert_int_equal(g->number, 7);
	assert_false(g->taken_over);
	assert_int_equal(g->instances.n, 0);
	assert_in_range(g->started_ms, 1, clock_monotonic_ms());
	assert_in_range(g->started_realtime_ms, 1, clock_realtime_ms());
	assert_calls("");
}

static void test_generation_free_is_done_with_each_instance(void **state)
{
	(void)state;
	add();
	add();
	forget_calls();
	generation_free(g);
	g = NULL;
	assert_calls("done 7.1; done 7.0");
	generation_free(NULL);
}

/* ---- instances come and go ------------------------------------------------------------------- */

static void test_generation_add_starts_one(void **state)
{
	struct instance *i = add();

	(void)state;
	assert_calls("start 7.0");
	assert_ptr_equal(i->context, &context);
	assert_ptr_equal(i->config, g->config);
	assert_ptr_equal(i->wiring, &wiring);
	assert_ptr_equal(i->callbacks, &callbacks);
	assert_ptr_equal(i->userdata, &err);
	assert_int_equal(i->generation, 7);
	assert_int_equal(i->index, 0);
	assert_int_equal(i->role, INSTANCE_OUT);
	assert_true(instances_have(&g->instances, i));
}

static void test_generation_add_takes_the_lowest_index_that_is_free(void **state)
{
	struct instance *second;

	(void)state;
	add();
	second = add();
	assert_int_equal(second->index, 1);
	assert_int_equal(add()->index, 2);
	forget_calls();
	generation_remove(g, second);
	assert_calls("done 7.1");
	assert_int_equal(g->instances.n, 2);
	assert_int_equal(add()->index, 1);
	assert_int_equal(add()->index, 3);
}

/* A folder that says what a cgroup says; @populated: 0, 1, or -1 for no answer. */
static void make_cgroup(const char *leaf, int populated)
{
	char path[CGROUP_PATH_MAX + 64];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", context.cgroup_base, leaf);
	assert_int_equal(mkdir(path, 0700), 0);
	snprintf(path, sizeof(path), "%s/%s/cgroup.events", context.cgroup_base, leaf);
	file = fopen(path, "we");
	assert_non_null(file);
	if (populated >= 0)
		fprintf(file, "populated %d\n", populated);
	fprintf(file, "frozen 0\n");
	assert_int_equal(fclose(file), 0);
}

static void remove_cgroup(const char *leaf)
{
	char path[CGROUP_PATH_MAX + 64];

	snprintf(path, sizeof(path), "%s/%s/cgroup.events", context.cgroup_base, leaf);
	assert_int_equal(remove(path), 0);
	snprintf(path, sizeof(path), "%s/%s", context.cgroup_base, leaf);
	assert_int_equal(remove(path), 0);
}

/* A server that lost its agent drains by itself: its cgroup must not get another one. */
static void test_generation_add_leaves_alone_what_has_lost_its_agent(void **state)
{
	(void)state;
	strcpy(context.cgroup_base, "/tmp/test_generation.XXXXXX");
	assert_non_null(mkdtemp(context.cgroup_base));
	make_cgroup("web.7.0", 1);
	make_cgroup("web.7.1", 0);
	make_cgroup("web.8.2", 1);
	make_cgroup("web.7.3", 1);
	assert_int_equal(add()->index, 1);
	assert_int_equal(add()->index, 2);
	assert_int_equal(add()->index, 4);
	remove_cgroup("web.7.0");
	assert_int_equal(add()->index, 0);
	remove_cgroup("web.7.1");
	remove_cgroup("web.8.2");
	remove_cgroup("web.7.3");
	assert_int_equal(remove(context.cgroup_base), 0);
	context.cgroup_base[0] = '\0';
}

static void test_generation_add_leaves_alone_what_cannot_be_looked_at(void **state)
{
	(void)state;
	strcpy(context.cgroup_base, "/tmp/test_generation.XXXXXX");
	assert_non_null(mkdtemp(context.cgroup_base));
	make_cgroup("web.7.0", -1);
	assert_int_equal(add()->index, 1);
	remove_cgroup("web.7.0");
	assert_int_equal(remove(context.cgroup_base), 0);
	context.cgroup_base[0] = '\0';
}

/* A helper has just seen the files of its release; later ones may see that they have changed. */
static void test_generation_add_of_what_was_just_resolved_sends_no_helper(void **state)
{
	(void)state;
	g->release->resolved_ms = clock_monotonic_ms();
	add();
	assert_true(g->looked);
	assert_null(g->errand);
}

static void test_generation_add_later_than_it_was_resolved_looks_again(void **state)
{
	(void)state;
	g->release->resolved_ms = 1;
	add();
	assert_false(g->looked);
	g->release->resolved_ms = clock_monotonic_ms();
	add(); /* the other one may have taken its time */
	assert_false(g->looked);
}

/* It is there, to be looked at and removed like any other. */
static void test_generation_add_that_fails_has_a_failed_instance(void **state)
{
	struct instance *i;

	(void)state;
	fake(7, 0)->start_error = -ENOENT;
	assert_int_equal(generation_add(g, &i, &err), -ENOENT);
	assert_string_equal(err.text, "agent: No such file or directory");
	assert_non_null(i);
	assert_true(instance_has_failed(i));
	assert_ptr_equal(instances_failed(&g->instances), i);
	generation_remove(g, i);
	assert_int_equal(g->instances.n, 0);
}

static void test_generation_add_without_room_is_refused(void **state)
{
	struct instance *i;

	(void)state;
	for (size_t k = 0; k < INSTANCES_MAX; k++)
		add();
	forget_calls();
	assert_int_equal(generation_add(g, &i, &err), -E2BIG);
	assert_null(i);
	assert_string_equal(err.text,
			    "generation 7 has 512 instances; there is no room for one more");
	assert_calls("");
	forget_calls();
}

/* ---- takeover -------------------------------------------------------------------------------- */

static void test_generation_take_over_has_as_many_instances_as_agents(void **state)
{
	char *argv[] = {(char *)"web", (char *)"--port", NULL};
	struct takeover_agent agents[2] = {};
	struct takeover_agent *const found[] = {&agents[0], &agents[1]};
	struct service_config *config = make_config();
	struct generation *taken = NULL;
	struct instance *i;

	(void)state;
	for (uint32_t k = 0; k < 2; k++) {
		agents[k].hello.generation = 12;
		agents[k].spec.instance = 2 * k + 1; /* others are gone */
		agents[k].spec.executable = (char *)"/bin/taken";
		agents[k].spec.directory = (char *)"/srv";
		agents[k].spec.argv = argv;
	}
	assert_int_equal(generation_take_over(&context, config, found, 2, &wiring, &callbacks, &err,
					      &taken, &err),
			 0);
	assert_calls("take over 12.1; take over 12.3");
	assert_int_equal(taken->number, 12);
	assert_true(taken->taken_over);
	assert_int_equal(taken->instances.n, 2);
	assert_int_equal(taken->instances.list[1]->index, 3);
	assert_int_equal(taken->instances.list[1]->generation, 12);
	assert_ptr_not_equal(taken->config, config);
	assert_string_equal(taken->release->executable, "/bin/taken");
	assert_string_equal(taken->release->directory, "/srv");
	assert_true(vector_equal(taken->release->command, argv));
	/* One more takes the lowest index that none of them has. */
	assert_int_equal(generation_add(taken, &i, &err), 0);
	assert_int_equal(i->index, 0);
	generation_free(taken);
	service_config_free(config);
}

/* The file may say something else by now, which those processes have never heard of. */
static void test_generation_take_over_knows_what_its_processes_were_given(void **state)
{
	struct takeover_agent agent = {.spec = {.executable = (char *)"/bin/taken",
						.directory = (char *)"/srv",
						.process = {.umask = 027}}};
	struct takeover_agent *const found[] = {&agent};
	struct service_config *config = make_config();
	struct generation *taken = NULL;

	(void)state;
	agent.hello.generation = 12;
	assert_int_equal(generation_take_over(&context, config, found, 1, &wiring, &callbacks, &err,
					      &taken, &err),
			 0);
	assert_true(process_settings_equal(&taken->config->process, &agent.spec.process));
	assert_false(process_settings_equal(&taken->config->process, &config->process));
	generation_free(taken);
	service_config_free(config);
}

static void test_generation_take_over_of_too_many_is_refused(void **state)
{
	struct takeover_agent agent = {.spec.executable = (char *)"/x",
				       .spec.directory = (char *)"/"};
	struct takeover_agent *found[INSTANCES_MAX + 1];
	struct service_config *config = make_config();
	struct generation *taken = NULL;

	(void)state;
	for (size_t k = 0; k < INSTANCES_MAX + 1; k++)
		found[k] = &agent;
	assert_int_equal(generation_take_over(&context, config, found, INSTANCES_MAX + 1, &wiring,
					      &callbacks, &err, &taken, &err),
			 -E2BIG);
	assert_null(taken);
	assert_calls("");
	service_config_free(config);
}

/* ---- questions ------------------------------------------------------------------------------- */

static void test_generation_mode_is_the_first_that_is_known(void **state)
{
	(void)state;
	assert_null(generation_mode(g));
	add();
	add();
	assert_null(generation_mode(g));
	fake(7, 1)->mode = "native";
	assert_string_equal(generation_mode(g), "native");
	fake(7, 0)->mode = "inherit";
	assert_string_equal(generation_mode(g), "inherit");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_generation_new_has_no_instances),
		TEST(test_generation_free_is_done_with_each_instance),
		TEST(test_generation_add_starts_one),
		TEST(test_generation_add_takes_the_lowest_index_that_is_free),
		TEST(test_generation_add_leaves_alone_what_has_lost_its_agent),
		TEST(test_generation_add_leaves_alone_what_cannot_be_looked_at),
		TEST(test_generation_add_of_what_was_just_resolved_sends_no_helper),
		TEST(test_generation_add_later_than_it_was_resolved_looks_again),
		TEST(test_generation_add_that_fails_has_a_failed_instance),
		TEST(test_generation_add_without_room_is_refused),
		TEST(test_generation_take_over_has_as_many_instances_as_agents),
		TEST(test_generation_take_over_knows_what_its_processes_were_given),
		TEST(test_generation_take_over_of_too_many_is_refused),
		TEST(test_generation_mode_is_the_first_that_is_known),
	};
#undef TEST

	return cmocka_run_group_tests_name("generation", tests, NULL, NULL);
}
