/* SPDX-License-Identifier: BSD-2-Clause */
/* Sockets that come and go, sockets of others, daemons that die. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "tests/unit/steer/cbpf_fixture.h"

/* ---- those who come and go ------------------------------------------------------------------ */

static void test_steer_cbpf_members_dying_candidate_moves_nobody(void **state)
{
	struct steer *steer;
	uint16_t slots[6];
	int fds[6];

	(void)state;
	use_endpoint(endpoints[0]);
	steer = open_steer();
	for (size_t k = 0; k < 6; k++)
		fds[k] = make(steer, &slots[k]);
	/* In the middle, so that those below and above could be hurt. */
	publish(steer, slots[3]);
	for (size_t k = 0; k < 6; k++) {
		if (k == 3)
			continue;
		/* Nobody tells the daemon. */
		close(fds[k]);
		assert_all_reach(&fds[3], 1, 0, 50);
	}
	for (size_t k = 0; k < 6; k++)
		if (k != 3)
			steer_release(steer, slots[k]);
	assert_all_reach(&fds[3], 1, 0, 50);
	assert_int_equal(reached_by_pin(steer, slots[3], &fds[3], 1), 0);
	close(fds[3]);
	steer_free(steer);
}

/* Deaths that are noticed late, and in another order, mix up the decoys; that must not matter. */
static void test_steer_cbpf_members_deaths_in_any_order_leave_a_good_group(void **state)
{
	struct steer *steer;
	uint16_t slots[8];
	int fds[8];

	(void)state;
	use_endpoint(endpoints[0]);
	steer = open_steer();
	srand(1);
	for (size_t k = 0; k < 8; k++)
		fds[k] = make(steer, &slots[k]);
	for (int round = 0; round < 30; round++) {
		bool dead[8] = {};

		publish_shares(steer, slots, 8, NULL, 0);
		for (int n = rand() % 8; n > 0; n--) {
			size_t k = (size_t)rand() % 8;

			if (!dead[k])
				close(fds[k]);
			dead[k] = true;
		}
		for (size_t k = 0; k < 8; k++)
			if (dead[k])
				steer_release(steer, slots[k]);
		for (size_t k = 0; k < 8; k++)
			if (dead[k])
				fds[k] = make(steer, &slots[k]);
		/* Servers have not been connected to in order to find that out. */
		for (size_t k = 0; k < 8; k++)
			assert_int_equal(anchor_sweep(fds[k]), 0);
		assert_pins_reach(steer, fds, slots, 8);
	}
	close_all(fds, 8);
	steer_free(steer);
}

static void rotate(bool makes_sockets)
{
	struct steer *steer = open_steer();
	uint16_t slots[4]; /* two that serve, two that come */
	size_t descriptors = 0;
	int fds[4];

	for (size_t k = 0; k < 2; k++) {
		fds[k] = makes_sockets ? make(steer, &slots[k]) : foreign();
		if (!makes_sockets)
			slots[k] = join_foreign(steer, fds[k], NULL, 0);
	}
	publish_shares(steer, slots, 2, NULL, 0);
	for (int round = 0; round < 50; round++) {
		size_t counts[4] = {};

		for (size_t k = 2; k < 4; k++)
			fds[k] = makes_sockets ? make(steer, &slots[k]) : foreign();
		/* Servers with several listeners bind them all before we hear of the first. */
		steer_tend(steer);
		for (size_t k = 4; !makes_sockets && k-- > 2;)
			slots[k] = join_foreign(steer, fds[k], fds, 4);
		assert_pins_reach(steer, fds, slots, 4);
		publish_shares(steer, slots + 2, 2, slots, 2);
		for (int n = 0; n < 30; n++)
			counts[reached(fds, 4)]++;
		assert_int_equal(counts[0] + counts[1], 0);
		assert_true(counts[2] > 0 && counts[3] > 0);
		for (size_t k = 0; k < 2; k++) {
			close(fds[k]);
			steer_release(steer, slots[k]);
			fds[k] = fds[k + 2];
			slots[k] = slots[k + 2];
		}
		if (round == 2)
			descriptors = open_descriptors();
		if (round > 2)
			assert_in_range(open_descriptors(), 1, descriptors);
	}
	close_all(fds, 2);
	steer_free(steer);
}

static void test_steer_cbpf_members_fifty_rotations_keep_the_places_right(void **state)
{
	(void)state;
	use_endpoint(endpoints[0]);
	rotate(true);
	use_endpoint(endpoints[1]);
	rotate(true);
}

static void test_steer_cbpf_members_fifty_rotations_of_servers_that_bind_themselves(void **state)
{
	(void)state;
	use_endpoint(endpoints[0]);
	rotate(false);
	use_endpoint(endpoints[4]);
	rotate(false);
}

/* ---- sockets of others ---------------------------------------------------------------------- */

static void test_steer_cbpf_members_sockets_in_unknown_order_are_found(void **state)
{
	static const size_t order[] = {3, 0, 5, 2, 4, 1};

	(void)state;
	for (size_t e = 0; e < N_ENDPOINTS; e++) {
		struct steer *steer;
		uint16_t slots[6];
		int fds[6];

		use_endpoint(endpoints[e]);
		steer = open_steer();
		for (size_t k = 0; k < 6; k++)
			fds[k] = foreign();
		for (size_t k = 0; k < 6; k++)
			slots[order[k]] = join_foreign(steer, fds[order[k]], fds, 6);
		publish_shares(steer, slots, 6, NULL, 0);
		assert_pins_reach(steer, fds, slots, 6);
		/* What was connected for the search has left nothing but resets behind. */
		for (size_t k = 0; k < 6; k++) {
			int value = 0;
			socklen_t length = sizeof(value);

			getsockopt(fds[k], IPPROTO_TCP, TCP_MAXSEG, &value, &length);
			assert_int_equal(value, 536);
			assert_int_equal(join(steer, fds[k]), slots[k]);
		}
		close_all(fds, 6);
		steer_free(steer);
	}
}

/* The last of several is looked at after it has moved; the places of the others follow from it. */
static void test_steer_cbpf_members_several_listeners_move_among_mixed_up_decoys(void **state)
{
	static const size_t deaths[] = {2, 0, 3, 1};
	struct steer *steer;
	uint16_t slots[8];
	int fds[8];

	(void)state;
	use_endpoint(endpoints[0]);
	steer = open_steer();
	for (size_t k = 0; k < 8; k++)
		fds[k] = make(steer, &slots[k]);
	for (int round = 0; round < 20; round++) {
		publish_shares(steer, slots, 8, NULL, 0);
		for (size_t k = 0; k < 4; k++)
			close(fds[2 * deaths[k] + (size_t)round % 2]);
		for (size_t k = 0; k < 4; k++)
			steer_release(steer, slots[2 * k + (size_t)round % 2]);
		for (size_t k = 0; k < 4; k++)
			fds[2 * k + (size_t)round % 2] = foreign();
		for (size_t k = (size_t)round % 2; k < 8; k += 2)
			slots[k] = join_foreign(steer, fds[k], fds, 8);
		assert_pins_reach(steer, fds, slots, 8);
	}
	close_all(fds, 8);
	steer_free(steer);
}

/* Members that die before they are known, and strangers that nobody ever joins. */
static void test_steer_cbpf_members_strangers_and_early_deaths_confuse_nobody(void **state)
{
	struct steer *steer;
	uint16_t slots[5];
	int fds[5], stranger, early;

	(void)state;
	use_endpoint(endpoints[0]);
	steer = open_steer();
	fds[0] = make(steer, &slots[0]);
	publish(steer, slots[0]);
	early = foreign();
	stranger = foreign();
	fds[1] = foreign();
	close(early);
	slots[1] = join_foreign(steer, fds[1], fds, 1);
	fds[2] = make(steer, &slots[2]);
	early = foreign();
	fds[3] = make(steer, &slots[3]);
	close(early);
	close(fds[2]);
	fds[2] = foreign();
	slots[2] = join_foreign(steer, fds[2], fds, 4);
	fds[4] = make(steer, &slots[4]);
	publish_shares(steer, slots + 1, 4, NULL, 0);
	assert_pins_reach(steer, fds, slots, 5);
	close(stranger);
	fds[0] = (close(fds[0]), make(steer, &slots[0]));
	assert_pins_reach(steer, fds, slots, 5);
	for (int n = 0; n < 20; n++) {
		close(fds[n % 5]);
		fds[n % 5] = make(steer, &slots[n % 5]);
		assert_pins_reach(steer, fds, slots, 5);
	}
	close_all(fds, 5);
	steer_free(steer);
}

static void test_steer_cbpf_members_server_with_its_own_mss_or_small_buffers_is_found(void **state)
{
	const int mss = 1200, size = 1;
	struct steer *steer;
	socklen_t length = sizeof(int);
	uint16_t slots[3];
	int fds[3], value = 0;

	(void)state;
	use_endpoint(endpoints[0]);
	steer = open_steer();
	for (size_t k = 0; k < 3; k++)
		fds[k] = foreign();
	assert_int_equal(setsockopt(fds[0], IPPROTO_TCP, TCP_MAXSEG, &mss, sizeof(mss)), 0);
	assert_int_equal(setsockopt(fds[1], SOL_SOCKET, SO_RCVBUF, &size, sizeof(size)), 0);
	for (size_t k = 3; k-- > 0;)
		slots[k] = join_foreign(steer, fds[k], fds, 3);
	assert_pins_reach(steer, fds, slots, 3);
	getsockopt(fds[0], IPPROTO_TCP, TCP_MAXSEG, &value, &length);
	assert_int_equal(value, mss);
	close_all(fds, 3);
	steer_free(steer);
}

static void test_steer_cbpf_members_join_takes_only_listening_sockets_of_the_group(void **state)
{
	struct steer *steer;
	struct error err = {};
	uint16_t slot;
	bool drift;
	int fd;

	(void)state;
	use_endpoint(endpoints[0]);
	steer = open_steer();
	fd = new_client();
	assert_int_equal(steer_join(steer, fd, 0, &slot, &drift, &err), -EINVAL);
	assert_non_null(strstr(err.text, "127.0.0.1:8080"));
	close(fd);
	assert_int_equal(steer_join(steer, STDIN_FILENO, 0, &slot, &drift, &err), -EINVAL);
	use_endpoint("127.0.0.1:8081");
	fd = foreign();
	assert_int_equal(steer_join(steer, fd, 0, &slot, &drift, &err), -EINVAL);
	close(fd);
	steer_free(steer);

	/* The same address, the same port, and another group. */
	use_endpoint(":8080");
	steer = open_steer();
	use_endpoint("[::]:8080");
	fd = foreign();
	assert_int_equal(steer_join(steer, fd, 0, &slot, &drift, &err), -EINVAL);
	use_endpoint(":8080");
	publish(steer, (close(make(steer, &slot)), slot));
	close(fd);
	steer_free(steer);
}

/* ---- daemons that come and go --------------------------------------------------------------- */

/* A daemon that sends everything to the last two of the sockets it makes, and is killed. */
static void die_after_publish(int *fds, size_t n, size_t n_leave)
{
	const struct timeval patience = {.tv_sec = 10};
	int channel[2];
	char byte;
	pid_t pid;

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, channel), 0);
	setsockopt(channel[0], SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	pid = fork();
	if (pid == 0) {
		uint16_t slots[MEMBERS];
		struct steer *steer;

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		steer = open_steer();
		for (size_t k = 0; k < n; k++) {
			fds[k] = make(steer, &slots[k]);
			publish(steer, slots[k]);
		}
		for (size_t k = 0; k < n_leave; k++)
			close(fds[k]);
		publish_shares(steer, slots + n - 2, 2, NULL, 0);
		for (size_t k = n_leave; k < n; k++) {
			char control[CMSG_SPACE(sizeof(int))] = {};
			struct iovec io = {.iov_base = &byte, .iov_len = 1};
			struct msghdr message = {.msg_iov = &io,
						 .msg_iovlen = 1,
						 .msg_control = control,
						 .msg_controllen = sizeof(control)};
			struct cmsghdr *header = CMSG_FIRSTHDR(&message);

			header->cmsg_level = SOL_SOCKET;
			header->cmsg_type = SCM_RIGHTS;
			header->cmsg_len = CMSG_LEN(sizeof(int));
			memcpy(CMSG_DATA(header), &fds[k], sizeof(int));
			byte = 0;
			if (sendmsg(channel[1], &message, 0) != 1)
				_exit(1);
		}
		pause();
		_exit(1);
	}
	for (size_t k = n_leave; k < n; k++) {
		char control[CMSG_SPACE(sizeof(int))] = {};
		struct iovec io = {.iov_base = &byte, .iov_len = 1};
		struct msghdr message = {.msg_iov = &io,
					 .msg_iovlen = 1,
					 .msg_control = control,
					 .msg_controllen = sizeof(control)};

		assert_int_equal(recvmsg(channel[0], &message, MSG_CMSG_CLOEXEC), 1);
		assert_non_null(CMSG_FIRSTHDR(&message));
		memcpy(&fds[k], CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof(int));
	}
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	close(channel[0]), close(channel[1]);
}

static void test_steer_cbpf_members_goes_on_when_the_daemon_is_gone(void **state)
{
	(void)state;
	if (missing)
		skip();
	use_endpoint(endpoints[0]);
	/* The serving ones alone are left, wherever they stood; in the second case with holes
	 * below. */
	for (size_t leave = 0; leave <= 4; leave += 2) {
		size_t n = leave + 2;
		int fds[MEMBERS];

		die_after_publish(fds, n, leave);
		for (int k = 0; k < 200; k++)
			reached(fds + leave, 2);
		close_all(fds + leave, 2);
	}
}

static void test_steer_cbpf_members_successor_finds_everybody_without_a_gap(void **state)
{
	struct error err = {};
	struct steer *steer;
	uint16_t slots[4];
	int fds[MEMBERS];

	(void)state;
	if (missing)
		skip();
	use_endpoint(endpoints[0]);
	/* Four are left: two of them serve. */
	die_after_publish(fds, 6, 2);
	steer = open_with(false);
	assert_false(steer_is_taken_over(steer));
	for (int n = 0; n < 100; n++)
		reached(fds + 2, 4);
	for (size_t k = 4; k-- > 0;) {
		slots[k] = join_foreign(steer, fds[2 + k], fds + 2, 4);
		/* Whoever serves, it is no decoy of ours. */
		for (int n = 0; n < 50; n++)
			reached(fds + 2, 4);
	}
	publish_shares(steer, slots + 2, 2, NULL, 0);
	for (int n = 0; n < 50; n++)
		reached(fds + 2, 4);
	assert_int_equal(steer_attach(steer, &err), 0);
	for (int n = 0; n < 200; n++)
		assert_true(reached(fds + 2, 4) >= 2);
	assert_pins_reach(steer, fds + 2, slots, 4);
	close_all(fds + 2, 4);
	steer_free(steer);
}

static void test_steer_cbpf_members_another_daemons_group_is_not_taken(void **state)
{
	struct steer *first, *second;
	struct error err = {};
	uint16_t slot;
	int fd;

	(void)state;
	use_endpoint(endpoints[0]);
	first = open_steer();
	fd = make(first, &slot);
	publish(first, slot);
	second = open_with(false);
	assert_all_reach(&fd, 1, 0, 50);
	assert_int_equal(steer_attach(second, &err), -EADDRINUSE);
	assert_non_null(strstr(err.text, "another batond"));
	assert_non_null(strstr(err.text, "127.0.0.1:8080"));
	steer_free(second);
	assert_all_reach(&fd, 1, 0, 50);
	close(fd);
	steer_free(first);
}

/* A server listens there before the endpoint is opened: for it, the program goes on with its join.
 */
static void test_steer_cbpf_members_server_that_was_first_is_joined(void **state)
{
	struct steer_options options = {.tier = STEER_CBPF, .uid = geteuid(), .has_member = true};
	struct error err = {};
	struct steer *steer;
	uint16_t slots[2];
	int fds[2];

	(void)state;
	if (missing)
		skip();
	for (size_t e = 0; e < N_ENDPOINTS; e++) {
		use_endpoint(endpoints[e]);
		fds[0] = foreign();
		fds[1] = foreign();
		assert_int_equal(steer_open(&endpoint, &options, &steer, &err), 0);
		assert_int_equal(steer_reset(steer, NULL), 0);
		attach(steer);
		slots[0] = join_foreign(steer, fds[0], &fds[1], 1);
		slots[1] = join_foreign(steer, fds[1], fds, 1);
		publish(steer, slots[1]);
		assert_all_reach(fds, 2, 1, 50);
		assert_pins_reach(steer, fds, slots, 2);
		publish(steer, slots[0]);
		assert_all_reach(fds, 2, 0, 50);
		close_all(fds, 2);
		steer_free(steer);
	}
}

static void test_steer_cbpf_members_address_in_use_says_by_whom(void **state)
{
	const struct steer_options options = {.tier = STEER_CBPF, .uid = geteuid()};
	struct steer *steer;
	struct error err = {};
	int fd, on = 1;

	(void)state;
	if (missing)
		skip();
	use_endpoint(endpoints[0]);
	fd = new_client();
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	assert_int_equal(bind(fd, &endpoint.sa, endpoint.length), 0);
	assert_int_equal(listen(fd, 1), 0);
	assert_int_equal(steer_open(&endpoint, &options, &steer, &err), -EADDRINUSE);
	assert_non_null(strstr(err.text, "without SO_REUSEPORT"));
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_steer_cbpf_members_dying_candidate_moves_nobody),
		cmocka_unit_test(test_steer_cbpf_members_deaths_in_any_order_leave_a_good_group),
		cmocka_unit_test(test_steer_cbpf_members_fifty_rotations_keep_the_places_right),
		cmocka_unit_test(
			test_steer_cbpf_members_fifty_rotations_of_servers_that_bind_themselves),
		cmocka_unit_test(test_steer_cbpf_members_server_that_was_first_is_joined),
		cmocka_unit_test(test_steer_cbpf_members_sockets_in_unknown_order_are_found),
		cmocka_unit_test(
			test_steer_cbpf_members_several_listeners_move_among_mixed_up_decoys),
		cmocka_unit_test(test_steer_cbpf_members_strangers_and_early_deaths_confuse_nobody),
		cmocka_unit_test(
			test_steer_cbpf_members_server_with_its_own_mss_or_small_buffers_is_found),
		cmocka_unit_test(
			test_steer_cbpf_members_join_takes_only_listening_sockets_of_the_group),
		cmocka_unit_test(test_steer_cbpf_members_goes_on_when_the_daemon_is_gone),
		cmocka_unit_test(test_steer_cbpf_members_successor_finds_everybody_without_a_gap),
		cmocka_unit_test(test_steer_cbpf_members_another_daemons_group_is_not_taken),
		cmocka_unit_test(test_steer_cbpf_members_address_in_use_says_by_whom),
	};

	missing = netns_enter();
	if (!missing)
		become_nobody();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
