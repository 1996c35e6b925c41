/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/steer/tap_load.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/log.h"
#include "common/privilege.h"
#include "orchestrator/host/cgroup.h"
#include "orchestrator/steer/bpffs.h"

#define ATTACHED_MAX 64 /* programs of one kind on a cgroup: BPF_CGROUP_MAX_PROGS of the kernel */

static const struct {
	const char *name;
	enum bpf_attach_type type;
	const char *what;
} parts[_TAP_PART_COUNT] = {
	[TAP_PART_COUNT] = {"tap_sockops", BPF_CGROUP_SOCK_OPS, "count connections (sockops)"},
	[TAP_PART_BIND4] = {"tap_bind4", BPF_CGROUP_INET4_BIND, "share ports (cgroup/bind4)"},
	[TAP_PART_BIND6] = {"tap_bind6", BPF_CGROUP_INET6_BIND, "share ports (cgroup/bind6)"},
	[TAP_PART_PROGRAM] = {"tap_setsockopt", BPF_CGROUP_SETSOCKOPT,
			      "notice other programs (cgroup/setsockopt)"},
};

static const char *const map_names[] = {"counts", "moved",  "watched", "forced",
					"binds",  "births", "probes",  "events"};
#define N_MAPS (sizeof(map_names) / sizeof(map_names[0]))

/* ---- libbpf's messages ---------------------------------------------------------------------- */

/* That something is refused here can be expected, and its caller says so: no verifier logs. */
static int on_message(enum libbpf_print_level level, const char *format, va_list ap)
{
	char text[1024];
	int n = vsnprintf(text, sizeof(text), format, ap);

	(void)level;
	log_debug("%s", text);
	return n;
}

static int load_quietly(struct tap_bpf *skeleton)
{
	libbpf_print_fn_t before = libbpf_set_print(on_message);
	int r = tap_bpf__load(skeleton);

	libbpf_set_print(before);
	return r;
}

/* ---- maps ----------------------------------------------------------------------------------- */

static void pin_path(const char *pin_dir, const char *name, char ret[static BPFFS_PATH_MAX])
{
	snprintf(ret, BPFFS_PATH_MAX, "%s/%s", pin_dir, name);
}

void tap_remove_pins(const char *pin_dir)
{
	char path[BPFFS_PATH_MAX];

	for (size_t k = 0; k < N_MAPS; k++) {
		pin_path(pin_dir, map_names[k], path);
		unlink(path);
	}
}

static struct bpf_map *find_map(const struct tap_bpf *skeleton, size_t k)
{
	return bpf_object__find_map_by_name(skeleton->obj, map_names[k]);
}

/* libbpf takes over what is pinned there already, and pins what it makes. */
static int name_pins(struct tap_bpf *skeleton, const char *pin_dir)
{
	char path[BPFFS_PATH_MAX];
	int r = 0;

	for (size_t k = 0; r == 0 && k < N_MAPS; k++) {
		pin_path(pin_dir, map_names[k], path);
		r = bpf_map__set_pin_path(find_map(skeleton, k), path);
	}
	return r;
}

/*
 * Earlier versions had room for fewer instances, and memory for all of them: such maps go on as
 * they are, so that nothing that is being counted is lost.
 */
static int adopt_sizes(struct tap_bpf *skeleton, const char *pin_dir)
{
	struct bpf_map *const maps[] = {skeleton->maps.counts, skeleton->maps.watched,
					skeleton->maps.binds};
	int r = 0;

	for (size_t k = 0; r == 0 && k < sizeof(maps) / sizeof(maps[0]); k++) {
		struct bpf_map_info info = {};
		uint32_t length = sizeof(info);
		char path[BPFFS_PATH_MAX];
		cleanup_close int fd = -1;

		pin_path(pin_dir, bpf_map__name(maps[k]), path);
		fd = bpf_obj_get(path);
		if (fd < 0 || bpf_obj_get_info_by_fd(fd, &info, &length) < 0 ||
		    info.max_entries > TAP_INSTANCES_MAX)
			continue;
		r = bpf_map__set_max_entries(maps[k], info.max_entries);
		if (r == 0)
			r = bpf_map__set_map_flags(maps[k], info.map_flags);
	}
	return r;
}

static int load_maps_once(const char *pin_dir, struct tap_bpf **ret)
{
	cleanup(tap_bpf__destroy) struct tap_bpf *skeleton = tap_bpf__open();
	struct bpf_program *program;
	int r = 0;

	if (!skeleton)
		return -errno;
	bpf_object__for_each_program(program, skeleton->obj)
		bpf_program__set_autoload(program, false);
	if (pin_dir[0])
		r = name_pins(skeleton, pin_dir);
	if (r == 0 && pin_dir[0])
		r = adopt_sizes(skeleton, pin_dir);
	if (r == 0)
		r = load_quietly(skeleton);
	if (r == 0)
		*ret = TAKE_PTR(skeleton);
	return r;
}

static int refused(struct error *err, int code, const char *what)
{
	char advice[PRIVILEGE_TEXT_MAX];

	return error_text(err, code, "%s: %s%s", what, strerror(-code),
			  privilege_explain(code, &privilege_bpf, advice));
}

int tap_load_maps(const char *pin_dir, struct tap_bpf **ret, struct error *err)
{
	int r = load_maps_once(pin_dir, ret);

	if (r == -EINVAL && pin_dir[0]) {
		/* libbpf's word for maps of another shape: another version of baton made them. */
		log_info("%s: maps of another version; connections that are open already are not "
			 "counted any more",
			 pin_dir);
		tap_remove_pins(pin_dir);
		r = load_maps_once(pin_dir, ret);
	}
	return r < 0 ? refused(err, r, "load the maps of tap.bpf.o") : 0;
}

/* ---- programs ------------------------------------------------------------------------------- */

static struct bpf_program *find_program(const struct tap_bpf *skeleton, enum tap_part part)
{
	return bpf_object__find_program_by_name(skeleton->obj, parts[part].name);
}

static int share_maps(struct tap_bpf *skeleton, const struct tap_bpf *maps)
{
	int r = 0;

	for (size_t k = 0; r == 0 && k < N_MAPS; k++)
		if (bpf_map__autocreate(find_map(skeleton, k)))
			r = bpf_map__reuse_fd(find_map(skeleton, k),
					      bpf_map__fd(find_map(maps, k)));
	return r;
}

/* What the kernel has for CAP_PERFMON only (bpf_base_func_proto(), bpf_tracing_func_proto()). */
static bool is_tracing(const struct bpf_insn *insn)
{
	if (insn->code != (BPF_JMP | BPF_CALL) || insn->src_reg != 0)
		return false;
	return insn->imm == BPF_FUNC_get_current_comm || insn->imm == BPF_FUNC_get_current_task ||
	       insn->imm == BPF_FUNC_probe_read_kernel;
}

/*
 * Those calls fail, without being made. A branch around them is not enough: without CAP_PERFMON the
 * verifier follows it as the processor might.
 */
static int leave_out_tracing(struct bpf_program *program)
{
	static const struct bpf_insn fails = {
		.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = -EPERM};
	size_t n = bpf_program__insn_cnt(program);
	cleanup_free struct bpf_insn *insns = calloc(n, sizeof(*insns));

	if (!insns)
		return -ENOMEM;
	for (size_t k = 0; k < n; k++) {
		const struct bpf_insn *insn = &bpf_program__insns(program)[k];

		insns[k] = is_tracing(insn) ? fails : *insn;
	}
	return bpf_program__set_insns(program, insns, n);
}

static int load_once(const struct tap_set *set, struct tap_bpf **ret)
{
	cleanup(tap_bpf__destroy) struct tap_bpf *skeleton = tap_bpf__open();
	int r = 0;

	if (!skeleton)
		return -errno;
	for (unsigned k = 0; k < _TAP_PART_COUNT; k++)
		bpf_program__set_autoload(find_program(skeleton, k), set->parts & TAP_PART_MASK(k));
	bpf_map__set_autocreate(skeleton->maps.births, set->births);
	skeleton->rodata->owner = set->owner;
	skeleton->rodata->note_births = set->births;
	skeleton->rodata->sharing = set->sharing;
	skeleton->rodata->n_endpoints = set->n_endpoints;
	skeleton->rodata->offsets = set->offsets;
	for (uint32_t k = 0; k < set->n_endpoints; k++)
		skeleton->rodata->endpoints[k] = set->endpoints[k];
	for (unsigned k = 0; r == 0 && !set->tracing && k < _TAP_PART_COUNT; k++)
		r = leave_out_tracing(find_program(skeleton, k));
	if (r == 0 && set->maps)
		r = share_maps(skeleton, set->maps);
	if (r == 0)
		r = load_quietly(skeleton);
	if (r == 0)
		*ret = TAKE_PTR(skeleton);
	return r;
}

static int load_alone(const struct tap_set *set, enum tap_part part)
{
	struct tap_set one = *set;
	struct tap_bpf *skeleton;
	int r;

	one.parts = TAP_PART_MASK(part);
	r = load_once(&one, &skeleton);
	if (r == 0)
		tap_bpf__destroy(skeleton);
	return r;
}

/* @part does not load. Does it without what needs CAP_PERFMON? */
static bool trace_less(struct tap_set *set, enum tap_part part)
{
	struct tap_set less = *set;
	static bool said;

	less.tracing = false;
	less.offsets.known = 0;
	if (!set->tracing || load_alone(&less, part) < 0)
		return false;
	if (!said && set->offsets.known)
		log_info("who ends a connection can be told in part only: this kernel does "
			 "not let it be read (CAP_PERFMON)");
	said |= set->offsets.known;
	*set = less;
	return true;
}

/* The program that counts does not load: without dates? */
static int count_less(struct tap_set *set, int code, struct error *err)
{
	static bool said_births;

	if (!set->births)
		return refused(err, code, parts[TAP_PART_COUNT].what);
	set->births = false;
	if (load_alone(set, TAP_PART_COUNT) < 0 && !trace_less(set, TAP_PART_COUNT))
		return refused(err, code, parts[TAP_PART_COUNT].what);
	if (!said_births)
		log_info("this kernel does not let connections be dated (sockops)");
	said_births = true;
	return 0;
}

/* @part does not load. Can it be gone without? */
static int go_without(struct tap_set *set, enum tap_part part, int code, struct error *err)
{
	static bool said_binds, said_program;

	if (trace_less(set, part))
		return 0;
	if (part == TAP_PART_COUNT)
		return count_less(set, code, err);
	if (part == TAP_PART_PROGRAM) {
		set->parts &= ~TAP_PART_MASK(part);
		if (!said_program)
			log_info("this kernel does not tell who replaces the program of a group "
				 "(cgroup/setsockopt)");
		said_program = true;
		return 0;
	}
	if (TAP_PART_MASK(part) & TAP_PART_BINDS && !set->sharing) {
		set->parts &= ~TAP_PART_MASK(part);
		if (!said_binds)
			log_info("this kernel does not tell what servers bind (cgroup/bind4, 6)");
		said_binds = true;
		return 0;
	}
	if (TAP_PART_MASK(part) & TAP_PART_BINDS && code != -EPERM)
		return error_set(err, code, "%s, from Linux 6.0 on", parts[part].what);
	return refused(err, code, parts[part].what);
}

int tap_load_programs(struct tap_set *set, struct tap_bpf **ret, struct error *err)
{
	int r = load_once(set, ret);

	if (r == 0)
		return 0;
	/* libbpf does not say which it was. */
	for (unsigned k = 0; k < _TAP_PART_COUNT; k++) {
		if (!(set->parts & TAP_PART_MASK(k)))
			continue;
		r = load_alone(set, k);
		if (r < 0)
			r = go_without(set, k, r, err);
		if (r < 0)
			return r;
	}
	r = load_once(set, ret);
	return r < 0 ? refused(err, r, "load tap.bpf.o") : 0;
}

/* ---- cgroups -------------------------------------------------------------------------------- */

/*
 * Take programs of this kind off the cgroup, by their name: a leaf that was left over, from a
 * generation of the same number or an attempt that failed, would count everything twice.
 */
static void take_off(enum tap_part part, int cgroup_fd)
{
	uint32_t ids[ATTACHED_MAX], n = ATTACHED_MAX, flags = 0;

	if (bpf_prog_query(cgroup_fd, parts[part].type, 0, &flags, ids, &n) < 0)
		return;
	for (uint32_t k = 0; k < n; k++) {
		cleanup_close int fd = bpf_prog_get_fd_by_id(ids[k]);
		struct bpf_prog_info info = {};
		uint32_t length = sizeof(info);

		if (fd < 0 || bpf_obj_get_info_by_fd(fd, &info, &length) < 0)
			continue;
		/* The kernel cuts names to 15 characters. */
		if (strncmp(info.name, parts[part].name, sizeof(info.name) - 1) == 0)
			bpf_prog_detach2(fd, cgroup_fd, parts[part].type);
	}
}

static void take_all_off(int cgroup_fd)
{
	for (unsigned k = 0; k < _TAP_PART_COUNT; k++)
		take_off(k, cgroup_fd);
}

int tap_put(const struct tap_bpf *programs, unsigned mask, int cgroup_fd, struct error *err)
{
	take_all_off(cgroup_fd);
	for (unsigned k = 0; k < _TAP_PART_COUNT; k++) {
		int r;

		if (!(mask & TAP_PART_MASK(k)))
			continue;
		r = bpf_prog_attach(bpf_program__fd(find_program(programs, k)), cgroup_fd,
				    parts[k].type, BPF_F_ALLOW_MULTI);
		if (r < 0) {
			take_all_off(cgroup_fd);
			return error_set(err, r, "attach to the cgroup: %s", parts[k].what);
		}
	}
	return 0;
}

/* ---- does it work here? --------------------------------------------------------------------- */

/* 127.83.x.y, by our process id, port 0: nobody else binds that just now. */
static void trial_endpoint(struct sockaddr_in *ret_address, struct tap_endpoint *ret)
{
	*ret_address = (struct sockaddr_in){
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(0x7f530000u | ((uint32_t)getpid() & 0xffff)),
	};
	*ret = (struct tap_endpoint){.address = {[10] = 0xff, [11] = 0xff}};
	memcpy(ret->address + 12, &ret_address->sin_addr, 4);
}

/* The program loads on older kernels too, and only then fails. */
static int bind_and_look(const struct sockaddr_in *address, struct error *err)
{
	cleanup_close int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	socklen_t length = sizeof(int);
	int on = 0;

	if (fd < 0)
		return error_set(err, -errno, "make a socket");
	/* It is asked before the kernel looks whether there is such an address. */
	(void)bind(fd, (const struct sockaddr *)address, sizeof(*address));
	if (getsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, &length) < 0)
		return error_set(err, -errno, "SO_REUSEPORT");
	if (!on)
		return error_text(
			err, -EOPNOTSUPP,
			"share ports: this kernel has no bpf_setsockopt(SO_REUSEPORT) for "
			"cgroup/bind4 (Linux 6.0 has)");
	return 0;
}

int tap_try_share(struct error *err)
{
	cleanup(tap_bpf__destroy) struct tap_bpf *skeleton = NULL;
	struct tap_set set = {
		.parts = TAP_PART_MASK(TAP_PART_BIND4),
		.sharing = true,
		.tracing = true,
		.n_endpoints = 1,
	};
	struct tap_endpoint endpoint;
	struct sockaddr_in address;
	cleanup_close int cgroup_fd = -1;
	char path[CGROUP_PATH_MAX];
	struct bpf_link *link;
	int r;

	trial_endpoint(&address, &endpoint);
	set.endpoints = &endpoint;
	r = tap_load_programs(&set, &skeleton, err);
	if (r < 0)
		return r;
	/* Our own: its folder is there, so nothing is made. */
	r = cgroup_base(".", path, err);
	if (r < 0)
		return r;
	cgroup_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (cgroup_fd < 0)
		return error_set(err, -errno, "%s", path);
	/* A link goes with its descriptor, whatever happens. */
	link = bpf_program__attach_cgroup(skeleton->progs.tap_bind4, cgroup_fd);
	if (!link)
		return error_set(err, -errno, "attach to %s", path);
	r = bind_and_look(&address, err);
	bpf_link__destroy(link);
	return r;
}
