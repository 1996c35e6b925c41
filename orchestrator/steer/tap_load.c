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
#include <sys/stat.h>
#include <unistd.h>

#include "common/log.h"
#include "common/privilege.h"
#include "ebpf/tap.skel.h"
#include "orchestrator/host/cgroup.h"
#include "orchestrator/steer/bpffs.h"
#include "orchestrator/steer/bpf_id.h"
#include "orchestrator/steer/earlier.h"

DEFINE_CLEANUP(struct tap_bpf *, tap_bpf__destroy);

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

/*
 * Those of an earlier daemon that have room for fewer go on: earlier versions had it for fewer
 * instances. Counters are right only together with the notes of what is not to be counted there.
 */
static const struct {
	const char *name;
	bool counters;
	uint32_t entries_min;
} known_maps[_TAP_MAP_COUNT] = {
	[TAP_MAP_COUNTS] = {"counts", true, 2},  [TAP_MAP_MOVED] = {"moved", true, 2},
	[TAP_MAP_PROBES] = {"probes", true, 2},  [TAP_MAP_WATCHED] = {"watched", false, 2},
	[TAP_MAP_FORCED] = {"forced", false, 2}, [TAP_MAP_BINDS] = {"binds", false, 2},
	[TAP_MAP_BIRTHS] = {"births", false, 0}, [TAP_MAP_EVENTS] = {"events", false, 4096},
};
#define N_MAPS ((size_t)_TAP_MAP_COUNT)

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

void tap_remove_pins(const char *pin_dir)
{
	earlier_unpin(pin_dir, EARLIER_LAYOUT);
	for (size_t k = 0; k < N_MAPS; k++)
		earlier_unpin(pin_dir, known_maps[k].name);
}

static struct bpf_map *find_map(const struct tap_bpf *skeleton, size_t k)
{
	return bpf_object__find_map_by_name(skeleton->obj, known_maps[k].name);
}

/* The programs of this kind on the cgroup, by their name. Returns how many; the caller closes. */
static uint32_t open_attached(enum tap_part part, int cgroup_fd, int ret[static ATTACHED_MAX])
{
	uint32_t ids[ATTACHED_MAX], n = ATTACHED_MAX, flags = 0, n_found = 0;

	if (bpf_prog_query(cgroup_fd, parts[part].type, 0, &flags, ids, &n) < 0)
		return 0;
	for (uint32_t k = 0; k < n; k++) {
		cleanup_close int fd = bpf_id_program(ids[k]);
		struct bpf_prog_info info = {};
		uint32_t length = sizeof(info);

		if (fd < 0 || bpf_obj_get_info_by_fd(fd, &info, &length) < 0)
			continue;
		/* The kernel cuts names to 15 characters. */
		if (strncmp(info.name, parts[part].name, sizeof(info.name) - 1) == 0)
			ret[n_found++] = TAKE_FD(fd);
	}
	return n_found;
}

static void ask_programs(struct earlier *earlier, const char *cgroup)
{
	cleanup_close int cgroup_fd = open(cgroup, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	for (unsigned part = 0; cgroup_fd >= 0 && part < _TAP_PART_COUNT; part++) {
		int fds[ATTACHED_MAX];
		uint32_t n = open_attached(part, cgroup_fd, fds);

		for (uint32_t k = 0; k < n; k++) {
			earlier_add_program(earlier, fds[k]);
			close(fds[k]);
		}
	}
}

static int find_earlier(struct earlier *earlier, const char *pin_dir, const char *cgroup,
			struct error *err)
{
	int r = 0;

	if (cgroup)
		ask_programs(earlier, cgroup);
	for (size_t k = 0; r == 0 && pin_dir[0] && k < N_MAPS; k++)
		r = earlier_add_pin(earlier, pin_dir, known_maps[k].name, known_maps[k].name, err);
	if (r == 0 && pin_dir[0])
		r = earlier_add_pin(earlier, pin_dir, EARLIER_LAYOUT, EARLIER_LAYOUT, err);
	return r;
}

static bool fits(const struct tap_bpf *skeleton, const struct earlier *earlier, size_t k)
{
	return earlier_layout(earlier) == TAP_LAYOUT &&
	       earlier_fits(earlier_find(earlier, known_maps[k].name), find_map(skeleton, k),
			    known_maps[k].entries_min, BPF_MAP_TYPE_UNSPEC);
}

/* Returns whether the counters go on. */
static int keep_maps(struct tap_bpf *skeleton, const struct earlier *earlier)
{
	bool counters = true;
	int r = 0;

	for (size_t k = 0; k < N_MAPS; k++)
		counters &= !known_maps[k].counters || fits(skeleton, earlier, k);
	for (size_t k = 0; r == 0 && k < N_MAPS; k++)
		if (known_maps[k].counters ? counters : fits(skeleton, earlier, k))
			r = bpf_map__reuse_fd(find_map(skeleton, k),
					      earlier_find(earlier, known_maps[k].name));
	return r < 0 ? r : counters;
}

/* Returns whether the counters of an earlier daemon go on. */
static int load_maps_once(const struct earlier *earlier, struct tap_bpf **ret)
{
	cleanup(tap_bpf__destroy) struct tap_bpf *skeleton = tap_bpf__open();
	struct bpf_program *program;
	int r, kept;

	if (!skeleton)
		return -errno;
	bpf_object__for_each_program(program, skeleton->obj)
		bpf_program__set_autoload(program, false);
	bpf_map__set_autocreate(skeleton->maps.instances, false);
	kept = keep_maps(skeleton, earlier);
	r = kept < 0 ? kept : load_quietly(skeleton);
	if (r == 0)
		*ret = TAKE_PTR(skeleton);
	return r < 0 ? r : kept;
}

static int pin_maps(const struct tap_bpf *skeleton, const char *pin_dir, struct error *err)
{
	int r = 0;

	for (size_t k = 0; r >= 0 && pin_dir[0] && k < N_MAPS; k++)
		r = earlier_pin(bpf_map__fd(find_map(skeleton, k)), pin_dir, known_maps[k].name,
				err);
	return r < 0 || !pin_dir[0] ? r : earlier_note_layout(pin_dir, -1, TAP_LAYOUT, err);
}

static int refused(struct error *err, int code, const char *what)
{
	char advice[PRIVILEGE_TEXT_MAX];

	return error_text(err, code, "%s: %s%s", what, strerror(-code),
			  privilege_explain(code, &privilege_bpf, advice));
}

void tap_maps_done(struct tap_maps *maps)
{
	for (size_t k = 0; k < N_MAPS; k++)
		bpf_kept_done(&maps->list[k]);
	if (maps->holder >= 0)
		close(maps->holder);
	maps->holder = -1;
}

/* Before Linux 5.10 no program can hold them: then each is kept open. */
static int take_maps(const struct tap_bpf *skeleton, struct tap_maps *ret)
{
	int fds[N_MAPS], r = 0;
	struct tap_maps maps = {.holder = -1};

	for (size_t k = 0; k < N_MAPS; k++)
		fds[k] = bpf_map__fd(find_map(skeleton, k));
	maps.holder = bpf_kept_holder(fds, N_MAPS);
	for (size_t k = 0; r == 0 && k < N_MAPS; k++)
		r = bpf_kept_map(fds[k], maps.holder >= 0, &maps.list[k]);
	if (r < 0)
		tap_maps_done(&maps);
	else
		*ret = maps;
	return r;
}

int tap_load_maps(const char *pin_dir, const char *cgroup, struct tap_maps *ret, struct error *err)
{
	cleanup(tap_bpf__destroy) struct tap_bpf *skeleton = NULL;
	cleanup(earlier_done) struct earlier earlier = {};
	int r = find_earlier(&earlier, pin_dir, cgroup, err);

	if (r < 0)
		return r;
	r = load_maps_once(&earlier, &skeleton);
	if (r < 0)
		return refused(err, r, "load the maps of tap.bpf.o");
	if (r == 0 && (cgroup || earlier.n > 0))
		log_info("%s: the counters of an earlier batond are gone, or do not fit this "
			 "version: connections of servers that run already are looked at instead",
			 pin_dir);
	r = pin_maps(skeleton, pin_dir, err);
	if (r < 0)
		return r;
	r = take_maps(skeleton, ret);
	return r < 0 ? error_set(err, r, "keep the maps of tap.bpf.o") : 0;
}

/* ---- programs ------------------------------------------------------------------------------- */

static struct bpf_program *find_program(const struct tap_bpf *skeleton, enum tap_part part)
{
	return bpf_object__find_program_by_name(skeleton->obj, parts[part].name);
}

static int share_maps(struct tap_bpf *skeleton, const struct tap_maps *maps)
{
	int r = 0;

	for (size_t k = 0; r == 0 && k < N_MAPS; k++)
		if (bpf_map__autocreate(find_map(skeleton, k)))
			r = bpf_map__reuse_fd(find_map(skeleton, k), tap_map_fd(maps, k));
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
	skeleton->rodata->note_births = set->births;
	skeleton->rodata->sharing = set->sharing;
	skeleton->rodata->offsets = set->offsets;
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

/* @part does not load. Does it if it does not share ports? */
static bool share_less(struct tap_set *set, enum tap_part part)
{
	struct tap_set less = *set;

	less.sharing = false;
	if (!set->sharing || load_alone(&less, part) < 0)
		return false;
	set->sharing = false;
	return true;
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
	if (TAP_PART_MASK(part) & TAP_PART_BINDS && !set->must_share) {
		if (share_less(set, part))
			return 0;
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

/* libbpf does not say which it was. */
static int load_less(struct tap_set *set, struct tap_bpf **ret, struct error *err)
{
	int r;

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

void tap_programs_done(struct tap_programs *programs)
{
	for (unsigned k = 0; k < _TAP_PART_COUNT; k++)
		if (programs->fds[k] >= 0)
			close(programs->fds[k]);
	if (programs->instances >= 0)
		close(programs->instances);
	*programs = TAP_PROGRAMS_NONE;
}

/* @fd stays whose it is. */
static int take(int fd, int *ret)
{
	*ret = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	return *ret < 0 ? -errno : 0;
}

/* Of libbpf's object only descriptors are kept. */
static int take_programs(const struct tap_bpf *skeleton, const struct tap_set *set,
			 struct tap_programs *ret)
{
	struct tap_programs programs = TAP_PROGRAMS_NONE;
	int r = take(bpf_map__fd(skeleton->maps.instances), &programs.instances);

	programs.parts = set->parts;
	programs.sharing = set->sharing;
	for (unsigned k = 0; r == 0 && k < _TAP_PART_COUNT; k++)
		if (set->parts & TAP_PART_MASK(k))
			r = take(bpf_program__fd(find_program(skeleton, k)), &programs.fds[k]);
	if (r < 0)
		tap_programs_done(&programs);
	else
		*ret = programs;
	return r;
}

int tap_load_programs(struct tap_set *set, struct tap_programs *ret, struct error *err)
{
	cleanup(tap_bpf__destroy) struct tap_bpf *skeleton = NULL;
	int r = load_once(set, &skeleton);

	*ret = TAP_PROGRAMS_NONE;
	if (r < 0)
		r = load_less(set, &skeleton, err);
	if (r < 0)
		return r;
	r = take_programs(skeleton, set, ret);
	if (r < 0)
		return error_set(err, r, "keep the programs of tap.bpf.o");
	/* So whoever finds the maps by the program knows their layout, too. */
	r = set->parts & TAP_PART_MASK(TAP_PART_COUNT)
		    ? earlier_note_layout("", ret->fds[TAP_PART_COUNT], TAP_LAYOUT, err)
		    : 0;
	if (r < 0)
		tap_programs_done(ret);
	return r;
}

/* ---- keeping them --------------------------------------------------------------------------- */

void tap_programs_forget(struct tap_programs_kept *kept)
{
	for (unsigned k = 0; k < _TAP_PART_COUNT; k++)
		bpf_kept_done(&kept->list[k]);
	bpf_kept_done(&kept->instances);
	kept->parts = 0;
}

int tap_programs_keep(const struct tap_programs *programs, struct tap_programs_kept *ret)
{
	struct tap_programs_kept kept = {};
	int r = bpf_kept_map(programs->instances, true, &kept.instances);

	for (unsigned k = 0; r == 0 && k < _TAP_PART_COUNT; k++)
		if (programs->parts & TAP_PART_MASK(k))
			r = bpf_kept_program(programs->fds[k], true, &kept.list[k]);
	kept.parts = programs->parts;
	kept.sharing = programs->sharing;
	if (r < 0)
		tap_programs_forget(&kept);
	*ret = kept;
	return r;
}

/* @fd: a descriptor, or a negative errno. */
static int own(int fd, int *ret)
{
	*ret = fd;
	return fd < 0 ? fd : 0;
}

int tap_programs_open(const struct tap_programs_kept *kept, struct tap_programs *ret)
{
	struct tap_programs programs = TAP_PROGRAMS_NONE;
	int r = kept->parts ? own(bpf_kept_open(&kept->instances), &programs.instances) : -ENOENT;

	programs.parts = kept->parts;
	programs.sharing = kept->sharing;
	for (unsigned k = 0; r == 0 && k < _TAP_PART_COUNT; k++)
		if (kept->parts & TAP_PART_MASK(k))
			r = own(bpf_kept_open(&kept->list[k]), &programs.fds[k]);
	if (r < 0)
		tap_programs_done(&programs);
	*ret = programs;
	return r;
}

/* ---- cgroups -------------------------------------------------------------------------------- */

/*
 * Take programs of this kind off the cgroup, by their name: a leaf that was left over, from a
 * generation of the same number or an attempt that failed, would count everything twice.
 */
static void take_off(enum tap_part part, int cgroup_fd)
{
	int fds[ATTACHED_MAX];
	uint32_t n = open_attached(part, cgroup_fd, fds);

	for (uint32_t k = 0; k < n; k++) {
		bpf_prog_detach2(fds[k], cgroup_fd, parts[part].type);
		close(fds[k]);
	}
}

static void take_all_off(int cgroup_fd)
{
	for (unsigned k = 0; k < _TAP_PART_COUNT; k++)
		take_off(k, cgroup_fd);
}

/* What the programs are to know is the cgroup's own, from the first one on. */
static int tell_whose(const struct tap_programs *programs, const struct tap_instance *instance,
		      int cgroup_fd)
{
	struct stat st;
	uint64_t id;

	if (fstat(cgroup_fd, &st) < 0)
		return -errno;
	id = st.st_ino;
	return bpf_map_update_elem(programs->instances, &id, instance, BPF_ANY) < 0 ? -errno : 0;
}

/* -EINVAL: it is on it already, and whoever may not open programs by number cannot see that. */
static int put_part(int program, int cgroup_fd, enum bpf_attach_type type)
{
	int r = bpf_prog_attach(program, cgroup_fd, type, BPF_F_ALLOW_MULTI);

	if (r != -EINVAL || bpf_prog_detach2(program, cgroup_fd, type) < 0)
		return r;
	return bpf_prog_attach(program, cgroup_fd, type, BPF_F_ALLOW_MULTI);
}

int tap_put(const struct tap_programs *programs, const struct tap_instance *instance, int cgroup_fd,
	    struct error *err)
{
	int r;

	take_all_off(cgroup_fd);
	for (unsigned k = 0; k < _TAP_PART_COUNT; k++) {
		if (!(programs->parts & TAP_PART_MASK(k)))
			continue;
		r = put_part(programs->fds[k], cgroup_fd, parts[k].type);
		if (r < 0) {
			take_all_off(cgroup_fd);
			return error_set(err, r, "attach to the cgroup: %s", parts[k].what);
		}
	}
	r = tell_whose(programs, instance, cgroup_fd);
	if (r < 0) {
		take_all_off(cgroup_fd);
		return error_set(err, r, "attach to the cgroup: tell whose it is");
	}
	return 0;
}

/* ---- does it work here? --------------------------------------------------------------------- */

/* 127.83.x.y, by our process id, port 0: nobody else binds that just now. */
static void trial_endpoint(struct sockaddr_in *ret_address, struct tap_instance *ret)
{
	*ret_address = (struct sockaddr_in){
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(0x7f530000u | ((uint32_t)getpid() & 0xffff)),
	};
	*ret = (struct tap_instance){
		.n_endpoints = 1,
		.sharing = true,
		.endpoints = {{.address = {[10] = 0xff, [11] = 0xff}}},
	};
	memcpy(ret->endpoints[0].address + 12, &ret_address->sin_addr, 4);
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

/* Our own: its folder is there, so nothing is made. */
static int open_own_cgroup(char path[static CGROUP_PATH_MAX], struct error *err)
{
	int fd, r;

	r = cgroup_base(".", path, err);
	if (r < 0)
		return r;
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? error_set(err, -errno, "%s", path) : fd;
}

int tap_try_share(struct error *err)
{
	cleanup(tap_programs_done) struct tap_programs programs = TAP_PROGRAMS_NONE;
	struct tap_set set = {
		.parts = TAP_PART_MASK(TAP_PART_BIND4),
		.sharing = true,
		.must_share = true,
		.tracing = true,
	};
	cleanup_close int cgroup_fd = -1, link = -1;
	struct tap_instance instance;
	char path[CGROUP_PATH_MAX];
	struct sockaddr_in address;
	int r;

	trial_endpoint(&address, &instance);
	r = tap_load_programs(&set, &programs, err);
	if (r < 0)
		return r;
	cgroup_fd = open_own_cgroup(path, err);
	if (cgroup_fd < 0)
		return cgroup_fd;
	/* It goes with its descriptor, whatever happens. */
	link = bpf_link_create(programs.fds[TAP_PART_BIND4], cgroup_fd, BPF_CGROUP_INET4_BIND,
			       NULL);
	if (link < 0)
		return error_set(err, link, "attach to %s", path);
	r = tell_whose(&programs, &instance, cgroup_fd);
	return r < 0 ? error_set(err, r, "attach to %s", path) : bind_and_look(&address, err);
}
