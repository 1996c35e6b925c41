/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "orchestrator/steer/positions.h"

#define ROUNDS   2000
#define REAL_MAX 40

/* A reuseport group as the kernel keeps it (sock_reuseport.c). Cookies of decoys are above DECOYS.
 */
#define DECOYS 1000000u

struct kernel {
	uint64_t socks[POSITIONS_MAX];
	size_t n;
	uint64_t last_real, last_decoy; /* cookies */
};

struct world {
	struct kernel kernel;
	struct positions model;
	size_t real, real_max;
	size_t steps;
};

static void kernel_add(struct kernel *k, uint64_t cookie)
{
	assert_true(k->n < POSITIONS_MAX);
	k->socks[k->n++] = cookie;
}

static void kernel_detach(struct kernel *k, uint64_t cookie)
{
	size_t i = 0;

	while (i < k->n && k->socks[i] != cookie)
		i++;
	assert_true(i < k->n);
	k->socks[i] = k->socks[--k->n];
}

static void assert_exact(const struct world *w)
{
	assert_int_equal(w->kernel.n, w->model.n);
	for (size_t i = 0; i < w->kernel.n; i++) {
		assert_int_equal(w->kernel.socks[i], w->model.list[i].cookie);
		assert_int_equal(w->kernel.socks[i] > DECOYS, w->model.list[i].decoy);
	}
}

/* One step; false: there was none left. */
static bool step(struct world *w)
{
	uint64_t cookie = 0;

	switch (positions_next(&w->model, &cookie)) {
	case POSITIONS_DONE:
		return false;
	case POSITIONS_OPEN:
		kernel_add(&w->kernel, DECOYS + ++w->kernel.last_decoy);
		positions_opened(&w->model, DECOYS + w->kernel.last_decoy);
		break;
	case POSITIONS_CLOSE:
		assert_true(cookie > DECOYS);
		kernel_detach(&w->kernel, cookie);
		positions_closed(&w->model, cookie);
		break;
	}
	w->steps++;
	return true;
}

static void drive(struct world *w)
{
	for (size_t n = 0; step(w); n++)
		assert_true(n < 2 * POSITIONS_MAX);
}

static uint64_t add(struct world *w)
{
	uint64_t cookie = ++w->kernel.last_real;

	kernel_add(&w->kernel, cookie);
	assert_int_equal(positions_added(&w->model, cookie), 0);
	if (++w->real > w->real_max)
		w->real_max = w->real;
	return cookie;
}

static void die(struct world *w, uint64_t cookie)
{
	kernel_detach(&w->kernel, cookie);
	positions_removed(&w->model, cookie);
	w->real--;
}

/* "R" a real socket, "d" a decoy. */
static const char *shape(const struct world *w)
{
	static char text[POSITIONS_MAX + 1];

	for (size_t i = 0; i < w->model.n; i++)
		text[i] = w->model.list[i].decoy ? 'd' : 'R';
	text[w->model.n] = '\0';
	return text;
}

static void test_positions_empty_group_has_decoys(void **state)
{
	struct world w = {};

	(void)state;
	drive(&w);
	assert_string_equal(shape(&w), "dd");
	assert_int_equal(positions_find(&w.model, 1), -ENOENT);
}

static void test_positions_new_socket_takes_the_lowest_place(void **state)
{
	struct world w = {};
	uint64_t a, b, c;

	(void)state;
	drive(&w);
	a = add(&w);
	assert_string_equal(shape(&w), "ddR");
	drive(&w);
	assert_string_equal(shape(&w), "Rdd");
	b = add(&w);
	drive(&w);
	assert_string_equal(shape(&w), "RRdd");
	c = add(&w);
	drive(&w);
	assert_string_equal(shape(&w), "RRRddd");
	assert_int_equal(positions_find(&w.model, a), 0);
	assert_int_equal(positions_find(&w.model, b), 1);
	assert_int_equal(positions_find(&w.model, c), 2);
	assert_exact(&w);
}

static void test_positions_hole_is_filled_by_the_next_one(void **state)
{
	struct world w = {};
	uint64_t a, b, c;

	(void)state;
	drive(&w);
	a = add(&w);
	drive(&w);
	b = add(&w);
	drive(&w);
	die(&w, a);
	assert_string_equal(shape(&w), "dRd");
	drive(&w);
	assert_string_equal(shape(&w), "dRdd");
	assert_int_equal(positions_find(&w.model, b), 1);
	c = add(&w);
	drive(&w);
	assert_int_equal(positions_find(&w.model, c), 0);
	assert_int_equal(positions_find(&w.model, b), 1);
	assert_exact(&w);
}

static void test_positions_two_added_at_once_are_placed_one_by_one(void **state)
{
	struct world w = {};

	(void)state;
	drive(&w);
	add(&w);
	drive(&w);
	add(&w);
	add(&w);
	assert_string_equal(shape(&w), "RddRR");
	assert_true(step(&w));
	assert_string_equal(shape(&w), "RRdR");
	assert_exact(&w);
	drive(&w);
	assert_exact(&w);
	assert_int_equal(positions_find(&w.model, 1), 0);
}

static void test_positions_death_before_the_steps_is_followed(void **state)
{
	struct world w = {};
	uint64_t a, b;

	(void)state;
	drive(&w);
	a = add(&w);
	drive(&w);
	b = add(&w);
	/* The new one is the last one, and moves to where the dead one was. */
	die(&w, a);
	assert_string_equal(shape(&w), "Rdd");
	assert_int_equal(positions_find(&w.model, b), 0);
	drive(&w);
	assert_exact(&w);
	a = add(&w);
	die(&w, a);
	drive(&w);
	assert_exact(&w);
	assert_string_equal(shape(&w), "Rdd");
}

static void test_positions_what_is_too_many_behind_the_last_is_closed(void **state)
{
	struct world w = {};

	(void)state;
	drive(&w);
	for (int k = 0; k < 10; k++)
		add(&w), drive(&w);
	assert_int_equal(w.model.n, 20);
	for (uint64_t cookie = 1; cookie <= 9; cookie++)
		die(&w, cookie), drive(&w);
	/* The survivor stays where it is. */
	assert_string_equal(shape(&w), "dddddddddRdd");
	die(&w, 10);
	drive(&w);
	assert_string_equal(shape(&w), "dd");
	assert_exact(&w);
}

static void test_positions_unknown_sockets_change_nothing(void **state)
{
	struct world w = {};
	struct positions before;

	(void)state;
	drive(&w);
	add(&w);
	drive(&w);
	before = w.model;
	positions_removed(&w.model, 77);
	positions_closed(&w.model, 77);
	positions_closed(&w.model, 1);           /* not a decoy */
	positions_removed(&w.model, DECOYS + 2); /* not real */
	positions_found(&w.model, 77, 0);
	positions_found(&w.model, 1, w.model.n);
	assert_memory_equal(&before, &w.model, sizeof(before));
}

static void test_positions_a_lost_socket_is_not_moved(void **state)
{
	struct world w = {};
	uint64_t cookie;

	(void)state;
	drive(&w);
	add(&w);
	w.model.list[2].lost = true;
	assert_int_equal(positions_next(&w.model, &cookie), POSITIONS_OPEN);
	drive(&w);
	assert_string_equal(shape(&w), "ddRdd");
}

static void test_positions_found_corrects_the_model(void **state)
{
	struct world w = {};
	uint64_t a, b;

	(void)state;
	drive(&w);
	a = add(&w), drive(&w);
	b = add(&w), drive(&w);
	assert_string_equal(shape(&w), "RRdd");
	/* Two decoys changed places: nobody is lost. */
	positions_found(&w.model, w.model.list[3].cookie, 2);
	assert_false(w.model.list[2].lost || w.model.list[3].lost);
	/* A real one stands where another was thought to be. */
	w.model.list[0].lost = true;
	positions_found(&w.model, a, 1);
	assert_int_equal(positions_find(&w.model, a), 1);
	assert_int_equal(positions_find(&w.model, b), 0);
	assert_false(w.model.list[1].lost);
	assert_true(w.model.list[0].lost);
	/* Found where it was thought to be. */
	positions_found(&w.model, b, 0);
	assert_int_equal(positions_find(&w.model, b), 0);
	assert_false(w.model.list[0].lost);
}

static void test_positions_too_many_sockets_are_refused_and_all_fit_before(void **state)
{
	struct world w = {};
	struct positions before;
	uint64_t cookie = 0;
	int r = 0;

	(void)state;
	drive(&w);
	while (r == 0) {
		before = w.model;
		r = positions_added(&w.model, ++cookie);
		if (r == 0) {
			kernel_add(&w.kernel, cookie);
			drive(&w);
			assert_exact(&w);
		}
	}
	assert_int_equal(r, -ENOSPC);
	assert_memory_equal(before.list, w.model.list, before.n * sizeof(before.list[0]));
	assert_int_equal(before.n, w.model.n);
	/* As many as an endpoint has slots, but for one or two. */
	assert_true(cookie >= 255);
}

/* ---- properties ----------------------------------------------------------------------------- */

static size_t pick_real(const struct world *w)
{
	size_t n = (size_t)rand() % w->real;

	for (size_t i = 0;; i++)
		if (w->kernel.socks[i] < DECOYS && n-- == 0)
			return i;
}

static void kill_some(struct world *w)
{
	size_t n = w->real ? (size_t)rand() % (w->real + 1) : 0;

	while (n-- > 0)
		die(w, w->kernel.socks[pick_real(w)]);
}

/* Where each real socket of a group that is settled must stay. */
static void assert_nobody_moved(const struct kernel *before, const struct kernel *after)
{
	for (size_t i = 0; i < after->n; i++)
		if (after->socks[i] < DECOYS)
			assert_int_equal(before->socks[i], after->socks[i]);
}

static void assert_bounded_and_protected(const struct world *w)
{
	size_t tail = 0;

	while (tail < w->model.n && w->model.list[w->model.n - 1 - tail].decoy)
		tail++;
	assert_true(tail >= w->real);
	assert_true(w->model.n <= 2 * w->real_max + 4);
}

static void test_positions_any_burst_of_deaths_moves_no_survivor(void **state)
{
	(void)state;
	for (unsigned seed = 0; seed < 20; seed++) {
		struct world w = {};

		srand(seed);
		drive(&w);
		for (int n = 0; n < ROUNDS / 20; n++) {
			struct kernel before;
			size_t adds = (size_t)rand() % 5;

			while (adds-- > 0 && w.real < REAL_MAX)
				add(&w);
			drive(&w);
			assert_bounded_and_protected(&w);
			before = w.kernel;
			kill_some(&w);
			assert_exact(&w);
			assert_nobody_moved(&before, &w.kernel);
		}
	}
}

/* Adds, deaths and single steps in any order: exact all the time, and settled ones stay. */
static void test_positions_model_is_exact_whatever_the_order(void **state)
{
	(void)state;
	for (unsigned seed = 0; seed < 20; seed++) {
		struct world w = {};

		srand(100 + seed);
		for (int n = 0; n < ROUNDS; n++) {
			int what = rand() % 8;

			if (what < 2 && w.real < REAL_MAX)
				add(&w);
			else if (what == 2 && w.real > 0)
				die(&w, w.kernel.socks[pick_real(&w)]);
			else
				step(&w);
			assert_exact(&w);
		}
		drive(&w);
		assert_bounded_and_protected(&w);
	}
}

/* The program names the survivors of the burst while the new ones are placed: none may move. */
static void test_positions_steps_move_only_new_sockets(void **state)
{
	(void)state;
	for (unsigned seed = 0; seed < 20; seed++) {
		struct world w = {};

		srand(200 + seed);
		drive(&w);
		for (int n = 0; n < ROUNDS / 20; n++) {
			struct kernel before = w.kernel;
			uint64_t newest = w.kernel.last_real;

			if (w.real < REAL_MAX)
				add(&w), add(&w);
			drive(&w);
			for (size_t i = 0; i < w.kernel.n; i++)
				if (w.kernel.socks[i] <= newest)
					assert_int_equal(before.socks[i], w.kernel.socks[i]);
			kill_some(&w);
			drive(&w);
		}
	}
}

/*
 * The kernel's deaths are told late, and in another order. Then decoys are mixed up, which the
 * caller measures before it closes one; real sockets are where they are thought to be.
 */
static void test_positions_late_news_mix_up_nothing_but_decoys(void **state)
{
	(void)state;
	for (unsigned seed = 0; seed < 50; seed++) {
		struct world w = {};
		uint64_t dead[REAL_MAX];
		size_t n = 0;

		srand(300 + seed);
		drive(&w);
		while (w.real < 10)
			add(&w), drive(&w);
		for (int k = 0; k < 6; k++) {
			dead[n] = w.kernel.socks[pick_real(&w)];
			kernel_detach(&w.kernel, dead[n++]);
			w.real--;
		}
		for (size_t k = n; k-- > 0;)
			positions_removed(&w.model, dead[k]);
		assert_int_equal(w.kernel.n, w.model.n);
		for (size_t i = 0; i < w.kernel.n; i++) {
			assert_int_equal(w.kernel.socks[i] > DECOYS, w.model.list[i].decoy);
			if (!w.model.list[i].decoy)
				assert_int_equal(w.kernel.socks[i], w.model.list[i].cookie);
		}
		for (size_t i = 0; i < w.kernel.n; i++)
			positions_found(&w.model, w.kernel.socks[i], i);
		assert_exact(&w);
		drive(&w);
		assert_exact(&w);
	}
}

static void test_positions_hundred_rotations_do_not_grow(void **state)
{
	struct world w = {};
	uint64_t old[4], new[4];
	size_t largest = 0;

	(void)state;
	drive(&w);
	for (size_t k = 0; k < 4; k++)
		old[k] = add(&w), drive(&w);
	for (int n = 0; n < 100; n++) {
		for (size_t k = 0; k < 4; k++)
			new[k] = add(&w), drive(&w);
		largest = w.model.n > largest ? w.model.n : largest;
		for (size_t k = 0; k < 4; k++)
			die(&w, old[k]);
		drive(&w);
		memcpy(old, new, sizeof(old));
	}
	assert_int_equal(largest, 16);
	assert_exact(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_positions_empty_group_has_decoys),
		cmocka_unit_test(test_positions_new_socket_takes_the_lowest_place),
		cmocka_unit_test(test_positions_hole_is_filled_by_the_next_one),
		cmocka_unit_test(test_positions_two_added_at_once_are_placed_one_by_one),
		cmocka_unit_test(test_positions_death_before_the_steps_is_followed),
		cmocka_unit_test(test_positions_what_is_too_many_behind_the_last_is_closed),
		cmocka_unit_test(test_positions_unknown_sockets_change_nothing),
		cmocka_unit_test(test_positions_a_lost_socket_is_not_moved),
		cmocka_unit_test(test_positions_found_corrects_the_model),
		cmocka_unit_test(test_positions_too_many_sockets_are_refused_and_all_fit_before),
		cmocka_unit_test(test_positions_any_burst_of_deaths_moves_no_survivor),
		cmocka_unit_test(test_positions_model_is_exact_whatever_the_order),
		cmocka_unit_test(test_positions_steps_move_only_new_sockets),
		cmocka_unit_test(test_positions_late_news_mix_up_nothing_but_decoys),
		cmocka_unit_test(test_positions_hundred_rotations_do_not_grow),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
