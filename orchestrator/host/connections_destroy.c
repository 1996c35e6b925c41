/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>

#include "orchestrator/host/connections_internal.h"

/*
 * Looks at the kernel's list. It shifts while sockets are taken out of it, and a server that still
 * listens gets more: one look is not enough, but no more than a few are worth it.
 */
#define PASSES 4

struct destroyer {
	struct diag *diag; /* not the one that lists: its answer is being read meanwhile */
	bool found;        /* one at least, in this pass */
	uint64_t destroyed;
	int r;
	struct error *err;
};

static void on_found(void *userdata, const struct diag_connection *connection)
{
	struct destroyer *destroyer = userdata;
	int r;

	if (destroyer->r < 0 || !diag_is_live(connection))
		return;
	destroyer->found = true;
	r = diag_destroy_connection(destroyer->diag, connection, destroyer->err);
	if (r >= 0)
		destroyer->destroyed++;
	else if (r != -ENOENT) /* it has ended by itself */
		destroyer->r = r;
}

/* What is destroyed stays so, however consistent the list was. */
static void on_forget(void *userdata)
{
	(void)userdata;
}

/*
 * A connection keeps the cgroup of the listener it came by, even if it has migrated to another
 * instance since. So only what the instance's own processes hold is destroyed, if they are known.
 * What they have not accepted ends with their listener, or moves on.
 */
static int destroy_pass(const struct connections_of *of, struct destroyer *destroyer)
{
	const struct connections_handler handler = {
		.found = on_found,
		.forget = on_forget,
		.userdata = destroyer,
	};
	int r;

	destroyer->found = false;
	r = connections_search(of, of->processes != NULL, &handler, destroyer->err);
	return destroyer->r < 0 ? destroyer->r : r;
}

int connections_destroy(const struct connections_of *of, uint64_t *ret, struct error *err)
{
	cleanup(diag_free) struct diag *diag = NULL;
	struct destroyer destroyer = {.err = err};
	int r;

	*ret = 0;
	r = diag_open(&diag, err);
	if (r < 0)
		return r;
	destroyer.diag = diag;
	for (int k = 0; k < PASSES && r >= 0 && (k == 0 || destroyer.found); k++)
		r = destroy_pass(of, &destroyer);
	*ret = destroyer.destroyed;
	return r < 0 ? error_prefix(err, r, "destroy connections") : 0;
}
