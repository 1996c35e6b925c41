/* SPDX-License-Identifier: BSD-2-Clause */
/* Local ports of commands: to which sockets they lead, and that they are let go of. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "orchestrator/host/environment.h"
#include "orchestrator/host/local_ports.h"
#include "orchestrator/instance/instance_internal.h"
#include "tests/unit/instance/instance_fixture.h"

static uint16_t next_port;
static unsigned taken;
static int take_error;

int local_ports_take(struct local_ports *ports, uint16_t wanted, struct local_ports_range *ret,
		     struct error *error)
{
	assert_ptr_equal(ports, &context.local_ports);
	*ret = (struct local_ports_range){0};
	if (take_error)
		return error_set(error, take_error, "ports");
	*ret = (struct local_ports_range){.first = next_port, .n = wanted};
	next_port = (uint16_t)(next_port + wanted);
	taken++;
	return 0;
}

void local_ports_give(struct local_ports *ports, const struct local_ports_range *range)
{
	assert_ptr_equal(ports, &context.local_ports);
	taken -= range->n > 0;
}

static int begin(void **state)
{
	next_port = 61000;
	taken = 0;
	take_error = 0;
	return set_up(state);
}

static int finish(void **state)
{
	int r = tear_down(state);

	assert_int_equal(taken, 0);
	assert_null(context.ports);
	return r;
}

static struct instance_ports *open_ports(struct instance *const *list, size_t n, uint16_t wanted)
{
	struct instance_ports *ports;

	if (instance_ports_open(list, n, wanted, &ports, &err) < 0)
		fail_msg("%s", err.text);
	return ports;
}

static void check_pin(const struct steer *steer, const char *source, uint16_t slot)
{
	const struct fake_pin *pin = fake_find_pin(steer, source);

	if (!pin)
		fail_msg("%s is not pinned", source);
	assert_int_equal(pin->slot, slot);
}

static void test_ports_lead_to_the_instance_on_each_address(void **state)
{
	struct instance_ports *ports;
	cleanup(vector_free) char **told = NULL;

	(void)state;
	run_instance();
	ports = open_ports(&(struct instance *){i}, 1, 2);
	assert_int_equal(n_fake_pins, 4);
	check_pin(&endpoint_0, "127.0.0.1:61000", 4);
	check_pin(&endpoint_0, "127.0.0.1:61001", 4);
	check_pin(&endpoint_1, "127.0.0.1:61000", 6);
	check_pin(&endpoint_1, "127.0.0.1:61001", 6);
	assert_int_equal(instance_ports_tell(ports, &told), 0);
	assert_string_equal(environment_get(told, "BATON_PROBE_PORTS"), "61000-61001");
	assert_string_equal(environment_get(told, "BATON_PROBE_GENERATION"), "2");
	/* They are no clients' connections. */
	assert_int_equal(i->pinned[0].n, 2);
	assert_int_equal(i->pinned[1].n, 2);
	instance_ports_close(ports);
	assert_int_equal(n_fake_pins, 0);
	assert_int_equal(i->pinned[0].n, 0);
}

static void listen_on(const char *text)
{
	config.n_listen = 1;
	assert_int_equal(address_parse(text, &config.listen[0], NULL), 0);
	endpoint_0.address = config.listen[0];
}

static void test_ports_are_asked_from_where_the_kernel_connects_from(void **state)
{
	struct instance_ports *ports;

	(void)state;
	run_instance();
	listen_on("0.0.0.0:80");
	ports = open_ports(&(struct instance *){i}, 1, 1);
	assert_int_equal(n_fake_pins, 1);
	check_pin(&endpoint_0, "127.0.0.1:61000", 4);
	instance_ports_close(ports);

	listen_on(":80");
	ports = open_ports(&(struct instance *){i}, 1, 1);
	assert_int_equal(n_fake_pins, 2);
	check_pin(&endpoint_0, "127.0.0.1:61001", 4);
	check_pin(&endpoint_0, "[::1]:61001", 4);
	instance_ports_close(ports);

	listen_on("127.0.0.5:80");
	ports = open_ports(&(struct instance *){i}, 1, 1);
	assert_int_equal(n_fake_pins, 2);
	check_pin(&endpoint_0, "127.0.0.5:61002", 4);
	check_pin(&endpoint_0, "127.0.0.1:61002", 4);
	instance_ports_close(ports);

	listen_on("192.0.2.7:80");
	ports = open_ports(&(struct instance *){i}, 1, 1);
	assert_int_equal(n_fake_pins, 1);
	check_pin(&endpoint_0, "192.0.2.7:61003", 4);
	instance_ports_close(ports);
}

/* In turn, and on each instance its sockets in turn. */
static void test_ports_are_spread(void **state)
{
	struct instance other = {.context = &context, .config = &config, .wiring = &wiring};
	struct instance deaf = other;
	struct instance_ports *ports;

	(void)state;
	run_instance();
	listen_on("127.0.0.1:80");
	assert_int_equal(instance_sockets_add(&other.sockets,
					      &(struct instance_socket){.cookie = 1, .slot = 20}),
			 0);
	assert_int_equal(instance_sockets_add(&other.sockets,
					      &(struct instance_socket){.cookie = 2, .slot = 21}),
			 0);
	ports = open_ports((struct instance *[]){i, &deaf, &other}, 3, 5);
	check_pin(&endpoint_0, "127.0.0.1:61000", 4);
	check_pin(&endpoint_0, "127.0.0.1:61001", 20);
	check_pin(&endpoint_0, "127.0.0.1:61002", 4);
	check_pin(&endpoint_0, "127.0.0.1:61003", 21);
	check_pin(&endpoint_0, "127.0.0.1:61004", 4);
	instance_ports_close(ports);
	assert_int_equal(n_fake_pins, 0);
	instance_sockets_done(&other.sockets);
	sources_done(&other.pinned[0]);
}

static void test_ports_follow_the_sockets(void **state)
{
	struct instance_ports *ports, *others;

	(void)state;
	run_instance();
	listen_on("127.0.0.1:80");
	ports = open_ports(&(struct instance *){i}, 1, 1);
	others = open_ports(&(struct instance *){i}, 1, 1);
	i->sockets.list[0].slot = 9;
	instance_retarget_ports(i);
	check_pin(&endpoint_0, "127.0.0.1:61000", 9);
	check_pin(&endpoint_0, "127.0.0.1:61001", 9);
	i->sockets.n = 0;
	instance_retarget_ports(i);
	assert_int_equal(n_fake_pins, 0);
	instance_ports_close(ports);
	instance_ports_close(others);
}

/* The slot may be another's soon. */
static void test_ports_are_let_go_when_the_instance_ends(void **state)
{
	struct instance_ports *ports;

	(void)state;
	run_instance();
	ports = open_ports(&(struct instance *){i}, 1, 2);
	instance_leave_ports(i);
	assert_int_equal(n_fake_pins, 0);
	assert_int_equal(taken, 1);
	instance_ports_close(ports);
}

static void test_ports_are_none_where_nothing_can_be_pinned(void **state)
{
	(void)state;
	assert_null(open_ports(NULL, 0, 1));
	assert_null(open_ports(&(struct instance *){i}, 1, 1)); /* it does not listen yet */
	run_instance();
	wiring.tier = STEER_HASH;
	assert_null(open_ports(&(struct instance *){i}, 1, 1));
	assert_int_equal(instance_ports_tell(NULL, NULL), 0);
	instance_ports_close(NULL);
}

static void test_ports_that_cannot_be_pinned_are_given_back(void **state)
{
	struct instance_ports *ports;

	(void)state;
	run_instance();
	fake_steer_failure.function = "steer_pin";
	fake_steer_failure.address = ADDRESS_1;
	fake_steer_failure.code = -ENOSPC;
	assert_int_equal(instance_ports_open(&(struct instance *){i}, 1, 2, &ports, &err), -ENOSPC);
	assert_string_equal(err.text,
			    "pin local ports 61000 to 61001 to an instance: No space left "
			    "on device");
	assert_int_equal(n_fake_pins, 0);
	assert_int_equal(taken, 0);
	fake_steer_failure.function = NULL;
	take_error = -EADDRNOTAVAIL;
	assert_int_equal(instance_ports_open(&(struct instance *){i}, 1, 2, &ports, &err),
			 -EADDRNOTAVAIL);
	assert_null(ports);
}

/* ---- a check by a command -------------------------------------------------------------------- */

static void test_check_by_a_command_is_told_whom_it_asks(void **state)
{
	char *exec[] = {(char *)"/bin/ask", (char *)"{generation}.{instance}", NULL};
	struct health_config health = {.kind = HEALTH_KIND_EXEC, .exec = exec};
	char *own[] = {(char *)"A=b", (char *)"FD={fd}", (char *)"ME={generation}-{instance}",
		       NULL};
	struct command_spec spec;
	void *running;

	(void)state;
	release.environment = own;
	strcpy(context.paths.api_socket, "/run/api.sock");
	i->release = &release;
	run_instance();
	if (instance_exec_host.begin(i, &health, &spec, &running, &err) < 0)
		fail_msg("%s", err.text);
	/* command.h replaces the placeholders. */
	assert_string_equal(spec.argv[1], "{generation}.{instance}");
	assert_int_equal(spec.generation, 2);
	assert_true(spec.of_instance);
	assert_int_equal(spec.instance, 0);
	assert_string_equal(spec.directory, "/srv");
	assert_int_equal(spec.uid, 33);
	assert_int_equal(spec.n_groups, 2);
	assert_string_equal(environment_get(spec.environment, "A"), "b");
	assert_string_equal(environment_get(spec.environment, "ME"), "{generation}-{instance}");
	assert_string_equal(environment_get(spec.environment, "BATON_SERVICE"), "web");
	assert_string_equal(environment_get(spec.environment, "BATON_GENERATION"), "2");
	assert_string_equal(environment_get(spec.environment, "BATON_INSTANCE"), "0");
	assert_string_equal(environment_get(spec.environment, "BATON_LISTEN"), ADDRESS_0);
	assert_string_equal(environment_get(spec.environment, "BATON_CONNECT_ALL"),
			    ADDRESS_0 " " ADDRESS_1);
	assert_string_equal(environment_get(spec.environment, "BATON_PROBE_PORTS"), "61000-61007");
	assert_int_equal(n_fake_pins, 2 * INSTANCE_PORTS_EXEC);
	instance_exec_host.end(running);
	assert_int_equal(n_fake_pins, 0);
	assert_int_equal(instance_exec_host.begin(i, &health, &spec, &running, &err), 0);
	instance_exec_host.end(running);
	take_error = -EADDRNOTAVAIL;
	assert_int_equal(instance_exec_host.begin(i, &health, &spec, &running, &err),
			 -EADDRNOTAVAIL);
}

#define TEST(name_) cmocka_unit_test_setup_teardown(name_, begin, finish)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_ports_lead_to_the_instance_on_each_address),
		TEST(test_ports_are_asked_from_where_the_kernel_connects_from),
		TEST(test_ports_are_spread),
		TEST(test_ports_follow_the_sockets),
		TEST(test_ports_are_let_go_when_the_instance_ends),
		TEST(test_ports_are_none_where_nothing_can_be_pinned),
		TEST(test_ports_that_cannot_be_pinned_are_given_back),
		TEST(test_check_by_a_command_is_told_whom_it_asks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
