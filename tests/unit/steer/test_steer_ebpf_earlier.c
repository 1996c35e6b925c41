/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What another version of baton has left: maps of other sizes, another layout, no pins. Each map
 * goes on that fits, and each connection is answered, whenever it comes.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "ebpf/steer.skel.h"
#include "orchestrator/steer/earlier.h"
#include "tests/unit/steer/steer_fixture.h"

/* ---- another version ------------------------------------------------------------------------ */

struct version {
	const char *map; /* whose shape it changes; NULL: none */
	uint32_t entries, value_size;
	uint32_t layout, slot; /* slot 0: 1 */
};

static const struct {
	const char *pin;
	size_t offset; /* in struct steer_bpf */
} pinned[] = {
#define PINNED(pin, map)                                                                           \
	{                                                                                          \
		pin, offsetof(struct steer_bpf, maps.map)                                          \
	}
	PINNED("slots", slots), PINNED("tables", tables), PINNED("control", data_control),
	PINNED("pins", pins),   PINNED("stats", stats),   PINNED("slot_stats", slot_stats),
};

static void other_shape(struct steer_bpf *other, const struct version *version)
{
	struct bpf_map *map = bpf_object__find_map_by_name(other->obj, version->map);

	if (version->entries)
		assert_int_equal(bpf_map__set_max_entries(map, version->entries), 0);
	if (version->value_size)
		assert_int_equal(bpf_map__set_value_size(map, version->value_size), 0);
}

static void pin_all(const struct steer_bpf *other)
{
	char path[BPFFS_PATH_MAX + 16];

	for (size_t k = 0; k < sizeof(pinned) / sizeof(pinned[0]); k++) {
		struct bpf_map *map =
			*(struct bpf_map *const *)((const char *)other + pinned[k].offset);

		snprintf(path, sizeof(path), "%s/%s", dir, pinned[k].pin);
		assert_int_equal(bpf_obj_pin(bpf_map__fd(map), path), 0);
	}
	snprintf(path, sizeof(path), "%s/program", dir);
	assert_int_equal(bpf_obj_pin(bpf_program__fd(other->progs.steer), path), 0);
}

/* As ebpf_join() does: of a slot without these nothing is counted. */
static void make_counters(const struct steer_bpf *other, uint32_t slot)
{
	struct steer_slot_stats *zero = calloc((size_t)libbpf_num_possible_cpus(), sizeof(*zero));

	assert_non_null(zero);
	assert_int_equal(bpf_map_update_elem(bpf_map__fd(other->maps.slot_stats), &slot, zero, 0),
			 0);
	free(zero);
}

/* It sends everything to @fd by its first table, and is gone. */
static void run_version(const struct version *version, int fd)
{
	struct steer_bpf *other = steer_bpf__open();
	uint32_t slot = version->slot ? version->slot : 1, first = 0;
	uint64_t value = (uint64_t)fd;
	struct steer_table table;
	int program;

	assert_non_null(other);
	if (version->map)
		other_shape(other, version);
	other->rodata->n_slots = slot + 1 > STEER_SLOTS ? slot + 1 : STEER_SLOTS;
	assert_int_equal(steer_bpf__load(other), 0);
	for (size_t k = 0; k < STEER_BUCKETS; k++)
		table.buckets[k] = (struct steer_bucket){(uint16_t)slot, STEER_NO_SLOT};
	assert_int_equal(bpf_map_update_elem(bpf_map__fd(other->maps.slots), &slot, &value, 0), 0);
	if (!version->map || strcmp(version->map, "tables") != 0 || !version->value_size)
		assert_int_equal(
			bpf_map_update_elem(bpf_map__fd(other->maps.tables), &first, &table, 0), 0);
	else {
		char large[2 * sizeof(table)] = {};

		memcpy(large, &table, sizeof(table));
		assert_int_equal(
			bpf_map_update_elem(bpf_map__fd(other->maps.tables), &first, large, 0), 0);
	}
	if (!version->map)
		make_counters(other, slot);
	program = bpf_program__fd(other->progs.steer);
	assert_int_equal(
		setsockopt(fd, SOL_SOCKET, SO_ATTACH_REUSEPORT_EBPF, &program, sizeof(program)), 0);
	pin_all(other);
	if (version->layout)
		assert_int_equal(earlier_note_layout(dir, program, version->layout, &err) >= 0, 1);
	steer_bpf__destroy(other);
}

/* ---- the next daemon ------------------------------------------------------------------------ */

#define PART 20

static struct steer *open_with_members(const uint64_t *members, size_t n)
{
	struct steer *steer = NULL;

	options.members = members;
	options.n_members = n;
	if (steer_open(&address, &options, &steer, &err) < 0)
		fail_msg("%s", err.text);
	return steer;
}

/* As service_take_over() does it. Connections come at each moment. */
static struct steer *take_over(int fd, bool expect_slots)
{
	uint64_t cookie = steer_cookie(fd);
	int clients[5 * PART];
	struct steer *steer;

	connect_many(clients, PART);
	steer = open_with_members(&cookie, 1);
	connect_many(clients + PART, PART);
	assert_int_equal(steer_is_taken_over(steer), expect_slots);
	if (!steer_is_taken_over(steer)) {
		assert_int_equal(steer_reset(steer, &err), 0);
		assert_int_equal(steer_hold(steer, true), 0);
		assert_int_equal(steer_attach(steer, &err), 0);
	}
	connect_many(clients + 2 * PART, PART);
	publish(steer, join(steer, fd), -1);
	connect_many(clients + 3 * PART, PART);
	if (steer_attach(steer, &err) < 0)
		fail_msg("%s", err.text);
	assert_true(steer_unhold(steer, &err) >= 0);
	assert_int_equal(steer_hold(steer, false), 0);
	connect_many(clients + 4 * PART, PART);
	accept_n(fd, 5 * PART);
	close_many(clients, 5 * PART);
	return steer;
}

/* The pins are in order: one more finds everything by them alone. */
static void end(struct steer *steer, int fd)
{
	uint16_t slot = join(steer, fd);

	steer_free(steer);
	options.members = NULL;
	options.n_members = 0;
	steer = open_successor();
	assert_true(steer_is_taken_over(steer));
	assert_int_equal(join(steer, fd), slot);
	assert_true(steer_names(steer, slot));
	assert_int_equal(steer_attach(steer, &err), 0);
	steer_unpin_all(steer);
	steer_free(steer);
	assert_int_equal(access(dir, F_OK), -1);
	close(fd);
}

static void check_version(const struct version *version, bool expect_slots)
{
	int fd;

	use_pins("version");
	fd = listener(&address);
	run_version(version, fd);
	end(take_over(fd, expect_slots), fd);
}

static void test_version_with_a_map_of_another_size_loses_no_connection(void **state)
{
	static const struct version versions[] = {
		{},
		{.map = "slots", .entries = 257},
		{.map = "slots", .entries = 65535},
		{.map = "tables", .entries = 4},
		{.map = "tables", .value_size = 2 * sizeof(struct steer_table)},
		{.map = "pins", .entries = 16},
		{.map = "pins", .entries = 4096},
		{.map = "pins", .value_size = 8},
		{.map = "slot_stats", .entries = 16},
		{.map = "slot_stats", .value_size = 64},
		{.map = "stats", .entries = 3},
		{.map = "stats", .value_size = 64},
	};

	(void)state;
	for (size_t k = 0; k < sizeof(versions) / sizeof(versions[0]); k++)
		check_version(&versions[k], true);
}

/* Its map does not tell which sockets it has. */
static void test_version_whose_slots_cannot_be_read_loses_no_connection(void **state)
{
	(void)state;
	check_version(&(struct version){.map = "slots", .value_size = 4}, false);
}

static void test_version_with_a_socket_beyond_our_slots_loses_no_connection(void **state)
{
	(void)state;
	check_version(&(struct version){.map = "slots", .entries = 4097, .slot = 3000}, false);
}

/* The sockets go on, and what the table says is not believed. */
static void test_version_of_an_unknown_layout_loses_no_connection(void **state)
{
	uint64_t cookie;
	struct steer *steer;
	int fd;

	(void)state;
	use_pins("layout");
	fd = listener(&address);
	run_version(&(struct version){.layout = STEER_LAYOUT + 1}, fd);
	cookie = steer_cookie(fd);
	steer = open_with_members(&cookie, 1);
	assert_true(steer_is_taken_over(steer));
	assert_false(steer_names(steer, join(steer, fd)));
	/* It dies before it has attached its program: so nothing is changed. */
	steer_free(steer);
	end(take_over(fd, true), fd);
}

/* ---- pins that are gone --------------------------------------------------------------------- */

static void remove_pin(const char *name)
{
	char path[BPFFS_PATH_MAX + 16];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	if (unlink(path) < 0)
		assert_int_equal(errno, ENOENT);
}

static void remove_all(void)
{
	for (size_t k = 0; k < sizeof(pinned) / sizeof(pinned[0]); k++)
		remove_pin(pinned[k].pin);
	remove_pin("program");
	remove_pin("layout");
}

static void test_pins_that_are_gone_are_made_again_around_the_program(void **state)
{
	struct steer_slot_stats stats;
	struct steer *steer;
	int fd;

	(void)state;
	use_pins("gone");
	if (!inspect)
		skip();
	fd = listener(&address);
	run_version(&(struct version){}, fd);
	remove_all();
	steer = take_over(fd, true);
	assert_int_equal(steer_slot_stats(steer, 1, &stats), 0);
	assert_int_equal(stats.primary, 5 * PART);
	end(steer, fd);
}

/* Who has no servers there has no right to the program. */
static void test_program_without_pins_is_anothers_if_no_server_of_ours_is_there(void **state)
{
	int fd, elsewhere, clients[10];
	struct address other;
	struct steer *steer;
	uint64_t cookie;

	(void)state;
	use_pins("others");
	if (!inspect)
		skip();
	assert_int_equal(address_parse("127.0.0.1:8081", &other, &err), 0);
	elsewhere = listener(&other);
	cookie = steer_cookie(elsewhere);
	fd = listener(&address);
	run_version(&(struct version){}, fd);
	remove_all();
	steer = open_with_members(&cookie, 1);
	assert_false(steer_is_taken_over(steer));
	assert_int_equal(steer_attach(steer, &err), -EADDRINUSE);
	steer_unpin_all(steer);
	steer_free(steer);
	connect_many(clients, 10);
	assert_int_equal(accept_all(fd), 10);
	close_many(clients, 10);
	close(fd);
	close(elsewhere);
}

/* Maps that somebody has put there are not those of the program. */
static void test_pins_of_other_maps_are_not_believed(void **state)
{
	struct steer *steer, *stranger = NULL;
	int fd, clients[10];

	(void)state;
	use_pins("strange");
	fd = listener(&address);
	run_version(&(struct version){}, fd);
	remove_all();
	/* Of the right shape, and empty. */
	options.inspect = NULL;
	assert_int_equal(steer_open(&address, &options, &stranger, &err), 0);
	steer_free(stranger);
	options.inspect = inspect;
	connect_many(clients, 10);
	assert_int_equal(accept_all(fd), 10);
	close_many(clients, 10);
	steer = take_over(fd, inspect != NULL);
	end(steer, fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup(test_##name, setup)
		TEST(version_with_a_map_of_another_size_loses_no_connection),
		TEST(version_whose_slots_cannot_be_read_loses_no_connection),
		TEST(version_with_a_socket_beyond_our_slots_loses_no_connection),
		TEST(version_of_an_unknown_layout_loses_no_connection),
		TEST(pins_that_are_gone_are_made_again_around_the_program),
		TEST(program_without_pins_is_anothers_if_no_server_of_ours_is_there),
		TEST(pins_of_other_maps_are_not_believed),
	};

	return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
