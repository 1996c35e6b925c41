/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/steer/inspect.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/privilege.h"
#include "ebpf/inspect.h"
#include "ebpf/inspect.skel.h"

struct inspect {
	struct inspect_bpf *skeleton;
	struct bpf_link *link;
};

int inspect_open(struct inspect **ret, struct error *err)
{
	cleanup(inspect_free) struct inspect *inspect = calloc(1, sizeof(*inspect));
	char advice[PRIVILEGE_TEXT_MAX];
	libbpf_print_fn_t print;
	int r;

	if (!inspect)
		return error_set(err, -ENOMEM, "inspect");
	/* If it is refused the caller says so, and libbpf would guess the wrong reason. */
	print = libbpf_set_print(NULL);
	inspect->skeleton = inspect_bpf__open_and_load();
	r = inspect->skeleton ? 0 : -errno;
	libbpf_set_print(print);
	if (r < 0)
		return error_text(err, r, "load inspect.bpf.o: %s%s", strerror(-r),
				  privilege_explain(r, &privilege_iterator, advice));
	inspect->link = bpf_program__attach_iter(inspect->skeleton->progs.inspect, NULL);
	if (!inspect->link) {
		r = -errno;
		return error_set(err, r, "attach the tcp iterator");
	}
	*ret = TAKE_PTR(inspect);
	return 0;
}

void inspect_free(struct inspect *inspect)
{
	if (!inspect)
		return;
	bpf_link__destroy(inspect->link);
	inspect_bpf__destroy(inspect->skeleton);
	free(inspect);
}

int inspect_listener(struct inspect *inspect, uint64_t cookie, uint32_t *ret_program_id,
		     uint32_t *ret_members, struct error *err)
{
	volatile struct inspect_record *found = &inspect->skeleton->bss->found;
	cleanup_close int fd = bpf_iter_create(bpf_link__fd(inspect->link));
	char nothing[64];
	ssize_t n;

	if (cookie == 0)
		return error_text(err, -EINVAL, "no socket has the cookie 0");
	if (fd < 0)
		return error_set(err, -errno, "start the tcp iterator");
	inspect->skeleton->bss->wanted = cookie;
	found->cookie = 0;
	do
		n = read(fd, nothing, sizeof(nothing));
	while (n < 0 && errno == EINTR);
	/* EAGAIN is how the program ends the walk. */
	if (n < 0 && errno != EAGAIN)
		return error_set(err, -errno, "read the tcp iterator");
	if (found->cookie != cookie)
		return -ENOENT;
	*ret_program_id = found->program_id;
	*ret_members = found->members;
	return 0;
}

void inspect_name(const struct inspect *inspect, char ret[static INSPECT_NAME_MAX])
{
	const volatile struct inspect_record *found = &inspect->skeleton->bss->found;

	for (size_t k = 0; k < INSPECT_NAME_MAX; k++)
		ret[k] = found->name[k];
	ret[INSPECT_NAME_MAX - 1] = '\0';
}
