/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * held_errand: helpers that are back when the test says so, or never. One at a time.
 */
#pragma once

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "orchestrator/host/errand.h"
#include "orchestrator/host/sight.h"

static struct {
	struct errand_spec spec;
	bool on_its_way;
	unsigned n; /* that were sent */
	bool hangs; /* at the end */
	int refused;
} helper;

/* Any address. */
static struct errand *const an_errand = (struct errand *)&helper;

int errand_start(sd_event *event, const struct errand_spec *spec, struct errand **ret,
		 struct error *err)
{
	(void)event;
	assert_false(helper.on_its_way);
	if (helper.refused < 0)
		return error_text(err, helper.refused, "no process");
	helper.spec = *spec;
	helper.on_its_way = true;
	helper.n++;
	*ret = an_errand;
	return 0;
}

void errand_cancel(struct errand *errand)
{
	if (errand)
		helper.on_its_way = false;
}

/* It does what it was sent for, and is back. */
static inline void come_back(void)
{
	struct error why = {};
	cleanup_free char *copy = NULL;
	const char *bytes;
	size_t n;

	assert_true(helper.on_its_way);
	sight_record(NULL, 0);
	helper.spec.look(helper.spec.userdata);
	bytes = sight_recorded(&n);
	assert_non_null(bytes);
	copy = malloc(n + 1);
	assert_non_null(copy);
	memcpy(copy, bytes, n);
	sight_forget();
	helper.on_its_way = false;
	sight_use(copy, n);
	helper.spec.on_seen(helper.spec.userdata, 0, &why);
	sight_forget();
}

/* It ends without an answer, after it @has_looked. */
static inline void die(bool has_looked)
{
	struct error why;

	error_text(&why, -EIO, "it died");
	assert_true(helper.on_its_way);
	if (has_looked)
		helper.spec.look(helper.spec.userdata);
	helper.on_its_way = false;
	helper.spec.on_seen(helper.spec.userdata, -EIO, &why);
}

/* Its time is over. */
static inline void be_late(void)
{
	struct error why;

	error_text(&why, -ETIMEDOUT, "no answer within 5s");
	assert_true(helper.on_its_way);
	if (helper.spec.on_late) {
		helper.spec.on_late(helper.spec.userdata, &why);
		return;
	}
	helper.on_its_way = false;
	helper.spec.on_seen(helper.spec.userdata, -ETIMEDOUT, &why);
}

bool errand_finish(struct errand *errand, uint64_t timeout_ms)
{
	(void)timeout_ms;
	assert_ptr_equal(errand, an_errand);
	if (helper.hangs)
		errand_cancel(errand);
	else
		come_back();
	return !helper.hangs;
}
