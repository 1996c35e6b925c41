/* SPDX-License-Identifier: BSD-2-Clause */
/* Orders whose files a helper reads first. The helpers are back when the test says so. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "orchestrator/host/errand.h"
#include "orchestrator/service/service_internal.h"

#define HELPERS_MAX 4

static struct context context;
static struct service service;
static struct error err;

/* ---- fakes ---------------------------------------------------------------------------------- */

static struct errand {
	struct errand_spec spec;
	bool on_its_way;
} helpers[HELPERS_MAX];
static size_t n_helpers;
static bool no_helper, no_copy;
static unsigned n_copies; /* of orders */
static enum service_order_type looked;
static unsigned n_looks;

int errand_start(sd_event *event, const struct errand_spec *spec, struct errand **ret,
		 struct error *e)
{
	assert_ptr_equal(event, context.event);
	assert_true(n_helpers < HELPERS_MAX);
	if (no_helper)
		return error_text(e, -EAGAIN, "no process");
	helpers[n_helpers] = (struct errand){.spec = *spec, .on_its_way = true};
	*ret = &helpers[n_helpers++];
	return 0;
}

void errand_cancel(struct errand *errand)
{
	if (!errand)
		return;
	assert_true(errand->on_its_way);
	errand->on_its_way = false;
}

static void come_back(size_t k, int r, const char *text)
{
	struct error why = {};

	assert_true(helpers[k].on_its_way);
	if (r < 0)
		error_text(&why, r, "%s", text);
	else
		helpers[k].spec.look(helpers[k].spec.userdata);
	helpers[k].on_its_way = false;
	helpers[k].spec.on_seen(helpers[k].spec.userdata, r, &why);
}

void order_look(struct service *s, const struct service_order *order)
{
	assert_ptr_equal(s, &service);
	looked = order->type;
	n_looks++;
}

int service_order_copy(const struct service_order *order, struct service_order *ret)
{
	if (no_copy)
		return -ENOMEM;
	*ret = *order;
	n_copies++;
	return 0;
}

void service_order_done(struct service_order *order)
{
	(void)order;
	n_copies--;
}

/* ---- whoever has given them ----------------------------------------------------------------- */

struct giver {
	unsigned calls;
	int r;
	enum service_order_type type;
	char why[128];
};

static void on_ahead(void *userdata, struct service *s, const struct service_order *order, int r,
		     const struct error *why)
{
	struct giver *giver = userdata;

	assert_ptr_equal(s, &service);
	giver->calls++;
	giver->r = r;
	giver->type = order->type;
	snprintf(giver->why, sizeof(giver->why), "%s", r < 0 ? why->text : "");
}

static int give(struct giver *giver, enum service_order_type type)
{
	struct service_order order = {.type = type};

	return service_send_ahead(&service, &order, on_ahead, giver, &err);
}

static int set_up(void **state)
{
	(void)state;
	memset(&service, 0, sizeof(service));
	service.context = &context;
	n_helpers = n_copies = 0;
	no_helper = no_copy = false;
	n_looks = 0;
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	assert_null(service.ahead);
	assert_int_equal(n_copies, 0);
	for (size_t k = 0; k < n_helpers; k++)
		assert_false(helpers[k].on_its_way);
	return 0;
}

/* ---- tests ---------------------------------------------------------------------------------- */

static void test_service_ahead_is_for_orders_that_start_something(void **state)
{
	static const enum service_order_type asking[] = {SERVICE_ORDER_RESTART,
							 SERVICE_ORDER_UPGRADE, SERVICE_ORDER_START,
							 SERVICE_ORDER_ROLLBACK};

	(void)state;
	for (size_t k = 0; k < sizeof(asking) / sizeof(asking[0]); k++)
		assert_true(service_asks_files(&(struct service_order){.type = asking[k]}));
	assert_false(service_asks_files(&(struct service_order){.type = SERVICE_ORDER_STOP}));
	assert_false(service_asks_files(&(struct service_order){.type = SERVICE_ORDER_ABORT}));
}

static void test_service_ahead_comes_back_with_a_copy_of_the_order(void **state)
{
	struct giver giver = {};

	(void)state;
	assert_int_equal(give(&giver, SERVICE_ORDER_RESTART), 0);
	assert_int_equal(giver.calls, 0);
	come_back(0, 0, NULL);
	assert_int_equal(n_looks, 1);
	assert_int_equal(looked, SERVICE_ORDER_RESTART);
	assert_int_equal(giver.calls, 1);
	assert_int_equal(giver.r, 0);
	assert_int_equal(giver.type, SERVICE_ORDER_RESTART);
}

static void test_service_ahead_files_that_do_not_answer_are_named(void **state)
{
	struct giver giver = {};

	(void)state;
	assert_int_equal(give(&giver, SERVICE_ORDER_UPGRADE), 0);
	come_back(0, -ETIMEDOUT, "/mnt/nfs/app.env: no answer within 5s");
	assert_int_equal(giver.calls, 1);
	assert_int_equal(giver.r, -ETIMEDOUT);
	assert_string_equal(giver.why, "/mnt/nfs/app.env: no answer within 5s");
}

static void test_service_ahead_several_come_back_in_any_order(void **state)
{
	struct giver givers[3] = {};

	(void)state;
	assert_int_equal(give(&givers[0], SERVICE_ORDER_START), 0);
	assert_int_equal(give(&givers[1], SERVICE_ORDER_RESTART), 0);
	assert_int_equal(give(&givers[2], SERVICE_ORDER_ROLLBACK), 0);
	come_back(1, 0, NULL);
	assert_int_equal(givers[1].calls, 1);
	come_back(0, 0, NULL);
	come_back(2, 0, NULL);
	assert_int_equal(givers[0].type, SERVICE_ORDER_START);
	assert_int_equal(givers[1].type, SERVICE_ORDER_RESTART);
	assert_int_equal(givers[2].type, SERVICE_ORDER_ROLLBACK);
	assert_int_equal(givers[0].calls + givers[1].calls + givers[2].calls, 3);
}

static void test_service_ahead_that_cannot_be_sent_calls_nobody(void **state)
{
	struct giver giver = {};

	(void)state;
	no_helper = true;
	assert_int_equal(give(&giver, SERVICE_ORDER_RESTART), -EAGAIN);
	assert_string_equal(err.text, "no process");
	no_helper = false;
	no_copy = true;
	assert_int_equal(give(&giver, SERVICE_ORDER_RESTART), -ENOMEM);
	assert_int_equal(giver.calls, 0);
}

static void test_service_ahead_all_are_told_that_batond_stops(void **state)
{
	struct giver givers[2] = {};

	(void)state;
	assert_int_equal(give(&givers[0], SERVICE_ORDER_RESTART), 0);
	assert_int_equal(give(&givers[1], SERVICE_ORDER_UPGRADE), 0);
	service_stop_ahead(&service);
	for (size_t k = 0; k < 2; k++) {
		assert_int_equal(givers[k].calls, 1);
		assert_int_equal(givers[k].r, -ESHUTDOWN);
		assert_string_equal(givers[k].why, "batond is shutting down");
	}
}

static void test_service_ahead_of_a_service_that_goes_is_forgotten(void **state)
{
	struct giver giver = {};

	(void)state;
	assert_int_equal(give(&giver, SERVICE_ORDER_RESTART), 0);
	assert_int_equal(give(&giver, SERVICE_ORDER_RESTART), 0);
	service_drop_ahead(&service);
	assert_int_equal(giver.calls, 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_service_ahead_is_for_orders_that_start_something),
		TEST(test_service_ahead_comes_back_with_a_copy_of_the_order),
		TEST(test_service_ahead_files_that_do_not_answer_are_named),
		TEST(test_service_ahead_several_come_back_in_any_order),
		TEST(test_service_ahead_that_cannot_be_sent_calls_nobody),
		TEST(test_service_ahead_all_are_told_that_batond_stops),
		TEST(test_service_ahead_of_a_service_that_goes_is_forgotten),
	};

	return cmocka_run_group_tests_name("service_ahead", tests, NULL, NULL);
}
