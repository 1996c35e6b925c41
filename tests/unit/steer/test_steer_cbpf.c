/* SPDX-License-Identifier: BSD-2-Clause */
/* What goes where. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "tests/unit/steer/cbpf_fixture.h"

/* ---- the kernel's rules --------------------------------------------------------------------- */

static void select_position(int fd, uint32_t position)
{
	struct sock_filter code[] = {BPF_STMT(BPF_RET | BPF_K, position)};
	const struct sock_fprog program = {.len = 1, .filter = code};

	assert_int_equal(
		setsockopt(fd, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, &program, sizeof(program)), 0);
}

static void assert_order(const int *fds, const size_t *order, size_t n)
{
	int there[MEMBERS];

	for (size_t k = 0; k < n; k++)
		there[k] = fds[order[k]];
	for (size_t k = 0; k < n; k++) {
		select_position(there[0], (uint32_t)k);
		assert_int_equal(reached(there, n), k);
	}
}

static void test_steer_cbpf_kernel_appends_and_fills_with_the_last(void **state)
{
	int fds[5];

	(void)state;
	if (missing)
		skip();
	use_endpoint(endpoints[0]);
	for (size_t k = 0; k < 4; k++)
		fds[k] = foreign();
	assert_order(fds, (size_t[]){0, 1, 2, 3}, 4);
	close(fds[1]);
	assert_order(fds, (size_t[]){0, 3, 2}, 3);
	fds[4] = foreign();
	assert_order(fds, (size_t[]){0, 3, 2, 4}, 4);
	/* The way out that leaves the descriptor open. */
	assert_int_equal(shutdown(fds[0], SHUT_RD), 0);
	assert_order(fds, (size_t[]){4, 3, 2}, 3);
	/* And in again: at the end. */
	assert_int_equal(listen(fds[0], 16), 0);
	assert_order(fds, (size_t[]){4, 3, 2, 0}, 4);
	/* Bound is not listening. */
	close(fds[2]);
	assert_order(fds, (size_t[]){4, 3, 0}, 3);
	close(fds[0]), close(fds[3]), close(fds[4]);
}

/* ---- shares, pins, shifts ------------------------------------------------------------------- */

static void share_evenly(size_t n, int connections)
{
	struct steer *steer = open_steer();
	size_t counts[MEMBERS] = {};
	uint16_t slots[MEMBERS];
	int fds[MEMBERS];

	for (size_t k = 0; k < n; k++)
		fds[k] = make(steer, &slots[k]);
	publish_shares(steer, slots, n, NULL, 0);
	for (int k = 0; k < connections; k++)
		counts[reached(fds, n)]++;
	for (size_t k = 0; k < n; k++)
		assert_in_range(counts[k], (size_t)connections / n * 7 / 10,
				(size_t)connections / n * 13 / 10);
	assert_pins_reach(steer, fds, slots, n);
	close_all(fds, n);
	steer_free(steer);
}

static void test_steer_cbpf_sockets_share_evenly(void **state)
{
	(void)state;
	for (size_t k = 0; k < N_ENDPOINTS; k++) {
		use_endpoint(endpoints[k]);
		share_evenly(4, 2000);
	}
	/* An IPv6 client of a dual-stack socket. */
	assert_int_equal(address_parse("[::1]:8080", &target, NULL), 0);
	share_evenly(4, 2000);
}

static void test_steer_cbpf_many_sockets_have_their_places(void **state)
{
	struct steer *steer;
	uint16_t slots[MEMBERS];
	int fds[MEMBERS];

	(void)state;
	use_endpoint(endpoints[0]);
	steer = open_steer();
	for (size_t k = 0; k < MEMBERS; k++)
		fds[k] = make(steer, &slots[k]);
	publish_shares(steer, slots, MEMBERS, NULL, 0);
	assert_pins_reach(steer, fds, slots, MEMBERS);
	for (size_t k = 0; k < MEMBERS; k += 2) {
		close(fds[k]);
		steer_release(steer, slots[k]);
	}
	for (size_t k = 1; k < MEMBERS; k += 2)
		assert_int_equal(reached_by_pin(steer, slots[k], &fds[k], 1), 0);
	for (size_t k = 1; k < MEMBERS; k += 2)
		close(fds[k]);
	steer_free(steer);
}

static void test_steer_cbpf_pins_reach_exactly_one_socket(void **state)
{
	(void)state;
	for (size_t k = 0; k < N_ENDPOINTS; k++) {
		struct steer *steer;
		uint16_t slots[3];
		int fds[3];

		use_endpoint(endpoints[k]);
		steer = open_steer();
		for (size_t i = 0; i < 3; i++)
			fds[i] = make(steer, &slots[i]);
		publish(steer, slots[0]);
		for (int times = 0; times < 20; times++)
			assert_pins_reach(steer, fds, slots, 3);
		assert_all_reach(fds, 3, 0, 50);
		close_all(fds, 3);
		steer_free(steer);
	}
}

static void test_steer_cbpf_shift_is_total(void **state)
{
	(void)state;
	for (size_t k = 0; k < N_ENDPOINTS; k++) {
		struct steer *steer;
		uint16_t slots[2];
		int fds[2];

		use_endpoint(endpoints[k]);
		steer = open_steer();
		fds[0] = make(steer, &slots[0]);
		publish(steer, slots[0]);
		fds[1] = make(steer, &slots[1]);
		assert_all_reach(fds, 2, 0, 500);
		publish(steer, slots[1]);
		assert_all_reach(fds, 2, 1, 500);
		publish(steer, slots[0]);
		assert_all_reach(fds, 2, 0, 100);
		close_all(fds, 2);
		steer_free(steer);
	}
}

static void test_steer_cbpf_sticky_client_stays(void **state)
{
	struct steer *steer;
	uint16_t slots[4];
	int fds[4];
	size_t who;

	(void)state;
	if (missing)
		skip();
	use_endpoint(endpoints[0]);
	steer = open_with(true);
	attach(steer);
	for (size_t k = 0; k < 4; k++)
		fds[k] = make(steer, &slots[k]);
	publish_shares(steer, slots, 4, NULL, 0);
	who = reached(fds, 4);
	assert_all_reach(fds, 4, who, 200);
	close_all(fds, 4);
	steer_free(steer);
}

static void test_steer_cbpf_pins_are_checked(void **state)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	const struct sockaddr *source = (const struct sockaddr *)&in;
	struct sockaddr unix_source = {.sa_family = AF_UNIX};
	struct steer *steer;
	uint16_t slot;
	int fd, r = 0;

	(void)state;
	use_endpoint(endpoints[0]);
	steer = open_steer();
	fd = make(steer, &slot);
	publish(steer, slot);
	assert_int_equal(steer_pin(steer, &unix_source, slot), -EAFNOSUPPORT);
	for (uint16_t port = 1; r == 0; port++) {
		assert_true(port < 1000);
		in.sin_port = htons(port);
		r = steer_pin(steer, source, slot);
	}
	assert_int_equal(r, -ENOSPC);
	in.sin_port = htons(1);
	assert_int_equal(steer_pin(steer, source, slot), -EEXIST);
	/* Full of pins it goes on, and makes sockets. */
	assert_int_equal(reached(&fd, 1), 0);
	close(make(steer, &slot));
	steer_unpin(steer, source);
	steer_unpin(steer, source);
	assert_int_equal(steer_pin(steer, source, slot), 0);
	close(fd);
	steer_free(steer);
}

/* ---- nothing there -------------------------------------------------------------------------- */

static void assert_reset(int client)
{
	char byte;

	assert_int_equal(recv(client, &byte, 1, 0), -1);
	assert_int_equal(errno, ECONNRESET);
	close(client);
}

static void test_steer_cbpf_where_nothing_serves_clients_are_reset(void **state)
{
	struct sockaddr_storage source = {};
	struct steer *steer;
	struct steer_table empty;
	int fd, client;
	uint16_t slot;

	(void)state;
	use_endpoint(endpoints[0]);
	steer = open_steer();
	fd = make(steer, &slot);
	table_clear(&empty);
	client = connected();
	assert_int_equal(steer_publish(steer, &empty, NULL), 0);
	assert_reset(client);
	client = connected();
	steer_tend(steer);
	assert_reset(client);
	/* Nobody has sent anything to the socket that no table names. */
	assert_int_equal(accept4(fd, NULL, NULL, 0), -1);
	assert_int_equal(errno, EAGAIN);
	/* A pin to a slot that is free. */
	client = bound_client(&source);
	assert_int_equal(steer_pin(steer, (struct sockaddr *)&source, slot + 1), 0);
	assert_int_equal(connect(client, &target.sa, target.length), 0);
	steer_unpin(steer, (struct sockaddr *)&source);
	assert_reset(client);
	close(fd);
	steer_free(steer);
}

/* More connections than a decoy has room for: it does not answer any more, and can be asked again.
 */
static void test_steer_cbpf_full_decoys_do_not_matter(void **state)
{
	struct steer *steer;
	int clients[400], fd;
	struct error err = {};
	uint16_t slot;

	(void)state;
	use_endpoint(endpoints[0]);
	steer = open_steer();
	for (size_t k = 0; k < 400; k++) {
		clients[k] = new_client();
		assert_int_equal(fcntl(clients[k], F_SETFL, O_NONBLOCK), 0);
		assert_int_equal(connect(clients[k], &target.sa, target.length), -1);
		assert_int_equal(errno, EINPROGRESS);
	}
	if (steer_listen(steer, 16, true, &fd, &err) < 0)
		fail_msg("%s", err.text);
	slot = join(steer, fd);
	publish(steer, slot);
	close_all(clients, 400);
	assert_int_equal(reached_by_pin(steer, slot, &fd, 1), 0);
	close(fd);
	steer_free(steer);
}

/* The one that the table names dies; nobody tells, until @notice does something. */
static void dead_primary(void (*notice)(struct steer *steer))
{
	struct steer *steer;
	uint16_t slots[2];
	int fds[2], client;

	use_endpoint(endpoints[0]);
	steer = open_steer();
	fds[0] = make(steer, &slots[0]);
	fds[1] = make(steer, &slots[1]);
	publish_shares(steer, &slots[1], 1, &slots[0], 1);
	assert_all_reach(fds, 2, 1, 20);
	steer_tend(steer);
	assert_all_reach(fds, 2, 1, 20);
	close(fds[1]);
	/* A decoy is there now. */
	client = connected();
	notice(steer);
	assert_reset(client);
	assert_all_reach(fds, 1, 0, 20);
	assert_true(steer_names(steer, slots[1]));
	close(fds[0]);
	steer_free(steer);
}

static void notice_by_a_change(struct steer *steer)
{
	uint16_t slot;

	close(make(steer, &slot));
}

static void test_steer_cbpf_dead_sockets_backup_serves_after_the_next_change(void **state)
{
	(void)state;
	dead_primary(notice_by_a_change);
}

static void test_steer_cbpf_dead_sockets_backup_serves_when_somebody_looks(void **state)
{
	(void)state;
	dead_primary(steer_tend);
}

/* ---- what it is ----------------------------------------------------------------------------- */

static void test_steer_cbpf_trying_it_works_as_nobody(void **state)
{
	size_t before = open_descriptors();
	struct error err = {};

	(void)state;
	if (missing)
		skip();
	assert_int_equal(geteuid(), NOBODY);
	if (steer_try(STEER_CBPF, &err) < 0)
		fail_msg("%s", err.text);
	assert_int_equal(open_descriptors(), before);
}

static void test_steer_cbpf_says_what_it_can_do(void **state)
{
	struct steer *steer;
	struct error err = {};
	char who[32] = "x";
	uint16_t slot;
	int fd;

	(void)state;
	assert_true(steer_can(STEER_CBPF, STEER_CAN_PIN));
	assert_true(steer_can(STEER_CBPF, STEER_CAN_SHIFT));
	assert_true(steer_can(STEER_CBPF, STEER_MAKES_SOCKETS));
	assert_false(steer_can(STEER_CBPF, STEER_CAN_BACKUP));
	assert_false(steer_can(STEER_CBPF, STEER_CAN_HOLD));
	assert_false(steer_can(STEER_CBPF, STEER_CAN_COUNT));
	assert_false(steer_can(STEER_CBPF, STEER_CAN_CHECK));
	use_endpoint(endpoints[0]);
	steer = open_steer();
	assert_int_equal(steer_check(steer, who, sizeof(who)), STEER_PROGRAM_UNKNOWN);
	assert_string_equal(who, "");
	/* Sockets for servers: blocking where that is wanted, closed on exec. */
	assert_int_equal(steer_listen(steer, 16, false, &fd, &err), 0);
	assert_int_equal(fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	close(fd);
	assert_int_equal(steer_listen(steer, 16, true, &fd, &err), 0);
	assert_int_equal(fcntl(fd, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
	slot = join(steer, fd);
	publish(steer, slot);
	assert_int_equal(steer_reset(steer, &err), 0);
	assert_false(steer_names(steer, slot));
	close(fd);
	steer_free(steer);
}

/* As root, for a service of another user. */
static void test_steer_cbpf_sockets_belong_to_the_services_user(void **state)
{
	const struct steer_options options = {.tier = STEER_CBPF, .uid = NOBODY};
	struct steer *steer;
	struct error err = {};
	struct stat st;
	uint16_t slot;
	int fd;

	(void)state;
	if (missing)
		skip();
	use_endpoint(endpoints[0]);
	if (steer_open(&endpoint, &options, &steer, &err) < 0)
		fail_msg("%s", err.text);
	attach(steer);
	fd = make(steer, &slot);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_uid, NOBODY);
	publish(steer, slot);
	assert_all_reach(&fd, 1, 0, 20);
	close(fd);
	steer_free(steer);
}

int main(void)
{
	const struct CMUnitTest root_tests[] = {
		cmocka_unit_test(test_steer_cbpf_sockets_belong_to_the_services_user),
	};
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_steer_cbpf_kernel_appends_and_fills_with_the_last),
		cmocka_unit_test(test_steer_cbpf_sockets_share_evenly),
		cmocka_unit_test(test_steer_cbpf_many_sockets_have_their_places),
		cmocka_unit_test(test_steer_cbpf_pins_reach_exactly_one_socket),
		cmocka_unit_test(test_steer_cbpf_shift_is_total),
		cmocka_unit_test(test_steer_cbpf_sticky_client_stays),
		cmocka_unit_test(test_steer_cbpf_pins_are_checked),
		cmocka_unit_test(test_steer_cbpf_dead_sockets_backup_serves_when_somebody_looks),
		cmocka_unit_test(test_steer_cbpf_where_nothing_serves_clients_are_reset),
		cmocka_unit_test(test_steer_cbpf_full_decoys_do_not_matter),
		cmocka_unit_test(test_steer_cbpf_dead_sockets_backup_serves_after_the_next_change),
		cmocka_unit_test(test_steer_cbpf_trying_it_works_as_nobody),
		cmocka_unit_test(test_steer_cbpf_says_what_it_can_do),
	};
	int failures;

	missing = netns_enter();
	failures = cmocka_run_group_tests(root_tests, NULL, NULL);
	if (!missing)
		become_nobody();
	return failures + cmocka_run_group_tests(tests, NULL, NULL);
}
