/* SPDX-License-Identifier: BSD-2-Clause */
#include "common/processes.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common/open_files.h"
#include "common/pidfds.h"

/* A server may make cgroups below its own, but we look into so many levels only. */
#define DEPTH_MAX 8

struct processes {
	char *cgroup;            /* absolute path of the leaf, or NULL */
	pid_t root;              /* the agent */
	pid_t adopted, session;  /* see processes_adopt(); 0: none */
	char relative[PATH_MAX]; /* the leaf as /proc/PID/cgroup names it; "": not known yet */
	char former[PATH_MAX];   /* where the agent was before processes_enter() */
	enum { UNTRIED, LIVES, DIES } beginner; /* what becomes of a child that begins there */
};

struct pid_list {
	pid_t *pids;
	size_t n;
	size_t size;
};

int processes_new(const char *cgroup, pid_t root, struct processes **ret)
{
	struct processes *processes;

	assert(cgroup ? cgroup[0] == '/' && root >= 0 : root > 0);
	processes = calloc(1, sizeof(*processes));
	if (!processes)
		return -ENOMEM;
	processes->root = root;
	if (cgroup) {
		processes->cgroup = strdup(cgroup);
		if (!processes->cgroup) {
			free(processes);
			return -ENOMEM;
		}
	}
	*ret = processes;
	return 0;
}

void processes_free(struct processes *processes)
{
	if (!processes)
		return;
	free(processes->cgroup);
	free(processes);
}

/* ---- the agent's own place ------------------------------------------------------------------ */

/* The path in the line "0::PATH" of /proc/PID/cgroup (cgroups(7)); @pid 0: this process. */
static int read_cgroup(pid_t pid, char ret[static PATH_MAX])
{
	char line[PATH_MAX + 64];
	char path[64];
	int r = -ENOENT;
	FILE *file;

	if (pid == 0)
		snprintf(path, sizeof(path), "/proc/self/cgroup");
	else
		snprintf(path, sizeof(path), "/proc/%d/cgroup", (int)pid);
	file = fopen(path, "re");
	if (!file)
		return errno == ENOENT ? -ESRCH : -errno;
	while (fgets(line, sizeof(line), file)) {
		line[strcspn(line, "\n")] = '\0';
		if (strncmp(line, "0::", 3) != 0)
			continue;
		if (strlen(line + 3) >= PATH_MAX)
			break;
		strcpy(ret, line + 3);
		r = 0;
		break;
	}
	if (r < 0 && ferror(file))
		r = -ESRCH; /* the process ended while we read its file */
	fclose(file);
	return r;
}

static int write_text(const char *path, const char *text)
{
	cleanup_close int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	return write(fd, text, strlen(text)) < 0 ? -errno : 0;
}

static int leaf_file(const struct processes *processes, const char *name, char ret[static PATH_MAX])
{
	int n = snprintf(ret, PATH_MAX, "%s/%s", processes->cgroup, name);

	return n < 0 || n >= PATH_MAX ? -ENAMETOOLONG : 0;
}

/* What the kernel calls the cgroup, in which @pid is; 0: this process. */
static int learn_relative(struct processes *processes, pid_t pid, struct error *err)
{
	size_t n_own, n_leaf;
	int r = read_cgroup(pid, processes->relative);

	if (r < 0)
		return error_set(err, r, "cgroup of the agent");
	n_own = strlen(processes->relative);
	n_leaf = strlen(processes->cgroup);
	if (n_own <= n_leaf && strcmp(processes->cgroup + n_leaf - n_own, processes->relative) == 0)
		return 0;
	r = error_text(err, -EINVAL, "cgroup %s: the kernel calls it %s", processes->cgroup,
		       processes->relative);
	processes->relative[0] = '\0';
	return r;
}

int processes_enter(struct processes *processes, struct error *err)
{
	char path[PATH_MAX], pid[16];
	int r;

	if (!processes->cgroup)
		return 0;
	r = read_cgroup(0, processes->former);
	if (r < 0)
		return error_set(err, r, "cgroup of the agent");
	r = leaf_file(processes, "cgroup.procs", path);
	snprintf(pid, sizeof(pid), "%d", (int)getpid());
	if (r == 0)
		r = write_text(path, pid);
	if (r < 0)
		return error_set(err, r, "join cgroup %s", processes->cgroup);
	return learn_relative(processes, 0, err);
}

int processes_return(struct processes *processes, struct error *err)
{
	char path[2 * PATH_MAX + 32], pid[16];
	size_t n_mount;
	int r;

	if (!processes->cgroup || !processes->relative[0])
		return 0;
	/* The leaf's path is that of the mount, followed by the name relative to the mount. */
	n_mount = strlen(processes->cgroup) - strlen(processes->relative);
	snprintf(path, sizeof(path), "%.*s%s/cgroup.procs", (int)n_mount, processes->cgroup,
		 processes->former);
	snprintf(pid, sizeof(pid), "%d", (int)getpid());
	r = write_text(path, pid);
	if (r < 0)
		return error_set(err, r, "return to cgroup %s", processes->former);
	return 0;
}

static int open_leaf(const struct processes *processes)
{
	return open(processes->cgroup, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

/*
 * Begin a child in @cgroup. -1: it cannot be. With @exit_signal 0 its end is told to nobody but
 * waitid(2) with __WALL.
 */
static pid_t fork_inside(int cgroup, uint64_t flags, uint64_t exit_signal)
{
	struct clone_args args = {
		.flags = CLONE_INTO_CGROUP | flags,
		.exit_signal = exit_signal,
		.cgroup = (unsigned)cgroup,
	};

	return cgroup < 0 ? -1 : (pid_t)syscall(SYS_clone3, &args, sizeof(args));
}

/*
 * Reap a child that has nothing to say but by its end. The kernel kills whoever begins in a cgroup
 * if that was killed more or less often (cgroup.kill) than the cgroup of its parent: it compares
 * the two (seen on Linux 6.18). Returns whether this one lived.
 */
static bool reap_beginner(pid_t pid)
{
	siginfo_t info = {};
	int r;

	do
		r = waitid(P_PID, (id_t)pid, &info, WEXITED | __WALL);
	while (r < 0 && errno == EINTR);
	return r == 0 && info.si_code == CLD_EXITED && info.si_status == 0;
}

static void try_beginner(struct processes *processes, int cgroup)
{
	pid_t pid = fork_inside(cgroup, 0, 0);

	if (pid == 0)
		_exit(0);
	processes->beginner = pid > 0 && reap_beginner(pid) ? LIVES : DIES;
}

pid_t processes_fork(struct processes *processes, bool *ret_inside)
{
	cleanup_close int cgroup = -1;
	pid_t pid = -1;

	if (processes->cgroup && processes->beginner != DIES)
		cgroup = open_leaf(processes);
	if (cgroup >= 0 && processes->beginner == UNTRIED)
		try_beginner(processes, cgroup);
	if (cgroup >= 0 && processes->beginner == LIVES)
		pid = fork_inside(cgroup, 0, SIGCHLD);
	if (pid == 0)
		open_files_restore(); /* fork(3) would do so */
	*ret_inside = pid >= 0;
	return pid >= 0 ? pid : fork();
}

static void make_sockets(const int *families, size_t n, int type, int *ret_fds)
{
	for (size_t k = 0; k < n; k++) {
		ret_fds[k] = socket(families[k], type, 0);
		if (ret_fds[k] < 0)
			ret_fds[k] = -errno;
	}
}

/*
 * The child shares the agent's descriptors, but not its memory: @shared is mapped by both. -EAGAIN:
 * no child can begin there.
 */
static int sockets_by_child(struct processes *processes, const int *families, size_t n, int type,
			    int *shared, struct error *err)
{
	cleanup_close int cgroup = processes->beginner == DIES ? -1 : open_leaf(processes);
	siginfo_t info;
	pid_t pid;
	int r;

	pid = fork_inside(cgroup, CLONE_FILES, 0);
	if (pid < 0)
		return -EAGAIN;
	if (pid == 0) {
		make_sockets(families, n, type, shared);
		_exit(0); /* what it closed the agent would have closed */
	}
	/* Until it is reaped its cgroup can be read. */
	do
		r = waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT | __WALL);
	while (r < 0 && errno == EINTR);
	r = learn_relative(processes, pid, err);
	processes->beginner = reap_beginner(pid) ? LIVES : DIES;
	return processes->beginner == LIVES ? r : -EAGAIN;
}

static void close_sockets(const int *fds, size_t n)
{
	for (size_t k = 0; k < n; k++)
		if (fds[k] >= 0)
			close(fds[k]);
}

static int sockets_by_visit(struct processes *processes, const int *families, size_t n, int type,
			    int *ret_fds, struct error *err)
{
	int r = processes_enter(processes, err), back;

	if (r == 0)
		make_sockets(families, n, type, ret_fds);
	/* If both fail, the first reason is told. */
	back = processes_return(processes, r < 0 ? NULL : err);
	if (r == 0 && back < 0)
		close_sockets(ret_fds, n);
	return r < 0 ? r : back;
}

int processes_sockets(struct processes *processes, const int *families, size_t n, int type,
		      int *ret_fds, struct error *err)
{
	size_t size = (n > 0 ? n : 1) * sizeof(int);
	int *shared, r = -EAGAIN;

	if (!processes->cgroup) {
		make_sockets(families, n, type, ret_fds);
		return 0;
	}
	shared = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared != MAP_FAILED) {
		for (size_t k = 0; k < n; k++)
			shared[k] = -EAGAIN; /* so far */
		r = sockets_by_child(processes, families, n, type, shared, err);
		memcpy(ret_fds, shared, n * sizeof(int));
		munmap(shared, size);
		if (r < 0)
			close_sockets(ret_fds, n);
	}
	return r == -EAGAIN ? sockets_by_visit(processes, families, n, type, ret_fds, err) : r;
}

int processes_open_join(const struct processes *processes, int *ret_fd, struct error *err)
{
	char path[PATH_MAX];
	int r;

	*ret_fd = -1;
	if (!processes->cgroup)
		return 0;
	r = leaf_file(processes, "cgroup.procs", path);
	if (r == 0) {
		*ret_fd = open(path, O_WRONLY | O_CLOEXEC);
		r = *ret_fd < 0 ? -errno : 0;
	}
	return r < 0 ? error_set(err, r, "cgroup %s", processes->cgroup) : 0;
}

/* ---- who belongs to it ---------------------------------------------------------------------- */

static int list_add(struct pid_list *list, pid_t pid)
{
	if (list->n >= PROCESSES_MAX)
		return -E2BIG;
	if (list->n == list->size) {
		size_t size = list->size ? 2 * list->size : 64;
		pid_t *pids = reallocarray(list->pids, size, sizeof(*pids));

		if (!pids)
			return -ENOMEM;
		list->pids = pids;
		list->size = size;
	}
	list->pids[list->n++] = pid;
	return 0;
}

/* A cgroup that has been removed meanwhile counts as empty. */
static int list_cgroup(const char *path, pid_t root, int depth, struct pid_list *list)
{
	char name[PATH_MAX];
	struct dirent *entry;
	int pid, r = 0;
	FILE *file;
	DIR *dir;

	if (snprintf(name, sizeof(name), "%s/cgroup.procs", path) >= (int)sizeof(name))
		return -ENAMETOOLONG;
	file = fopen(name, "re");
	if (!file)
		return errno == ENOENT ? 0 : -errno;
	/* 0 stands for a process of another pid namespace, which we cannot reach. */
	while (r == 0 && fscanf(file, "%d", &pid) == 1)
		if (pid > 0 && pid != root)
			r = list_add(list, pid);
	fclose(file);
	if (r < 0 || depth == 0)
		return r;
	dir = opendir(path);
	if (!dir)
		return errno == ENOENT ? 0 : -errno;
	while (r == 0 && (entry = readdir(dir))) {
		if (entry->d_type != DT_DIR || entry->d_name[0] == '.')
			continue;
		if (snprintf(name, sizeof(name), "%s/%s", path, entry->d_name) < (int)sizeof(name))
			r = list_cgroup(name, root, depth - 1, list);
	}
	closedir(dir);
	return r;
}

/* <linux/sched.h> of the kernel: forked, but did not call execve(2) since. */
#define PF_FORKNOEXEC 0x00000040

/* From /proc/PID/stat (proc(5)). */
struct process_stat {
	pid_t parent, session;
	char state;
	unsigned flags;
	unsigned long long ticks; /* CPU time */
	unsigned long long start; /* ticks since boot */
};

static bool is_dead(const struct process_stat *st)
{
	return st->state == 'Z' || st->state == 'X';
}

/* -ESRCH if the process has ended. */
static int read_stat(pid_t pid, struct process_stat *ret)
{
	unsigned long long user, kernel;
	char path[64], text[1024];
	const char *end;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -ESRCH;
	n = read(fd, text, sizeof(text) - 1);
	if (n <= 0)
		return -ESRCH;
	text[n] = '\0';
	/* The second field is the name in parentheses, which may contain parentheses itself. */
	end = strrchr(text, ')');
	/* Fields 3 (state), 4 (parent), 6 (session), 9 (flags), 14 and 15 (CPU time), 22 (start).
	 */
	if (!end || sscanf(end + 1,
			   " %c %d %*s %d %*s %*s %u %*s %*s %*s %*s %llu %llu %*s %*s %*s %*s "
			   "%*s %*s %llu",
			   &ret->state, &ret->parent, &ret->session, &ret->flags, &user, &kernel,
			   &ret->start) != 7)
		return -EIO;
	ret->ticks = user + kernel;
	return 0;
}

/* A process and its parent; ours: it is one of the instance's. */
struct relation {
	pid_t pid;
	pid_t parent;
	pid_t session;
	bool zombie;
	bool ours;
};

static int read_relations(struct relation **ret, size_t *ret_n)
{
	cleanup_free struct relation *relations = NULL;
	size_t n = 0, size = 0;
	struct dirent *entry;
	DIR *dir = opendir("/proc");
	int r = 0;

	if (!dir)
		return -errno;
	while (r == 0 && n < PROCESSES_MAX && (entry = readdir(dir))) {
		struct relation relation = {.pid = (pid_t)strtol(entry->d_name, NULL, 10)};
		struct process_stat st;

		if (relation.pid <= 0 || read_stat(relation.pid, &st) < 0)
			continue;
		relation.parent = st.parent;
		relation.session = st.session;
		relation.zombie = is_dead(&st);
		if (n == size) {
			void *grown;

			size = size ? 2 * size : 256;
			grown = reallocarray(relations, size, sizeof(*relations));
			if (!grown) {
				r = -ENOMEM;
				break;
			}
			relations = grown;
		}
		relations[n++] = relation;
	}
	closedir(dir);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(relations);
	*ret_n = n;
	return 0;
}

static int compare_pids(const void *a, const void *b)
{
	pid_t x = ((const struct relation *)a)->pid, y = ((const struct relation *)b)->pid;

	return (x > y) - (x < y);
}

static bool parent_is_ours(const struct relation *relations, size_t n, pid_t parent, pid_t root)
{
	const struct relation key = {.pid = parent}, *found;

	if (parent == root)
		return true;
	found = bsearch(&key, relations, n, sizeof(*relations), compare_pids);
	return found && found->ours;
}

static bool is_adopted(const struct processes *processes, pid_t pid, pid_t session)
{
	return processes->adopted != 0 &&
	       (pid == processes->adopted || session == processes->session);
}

static int list_descendants(const struct processes *processes, struct pid_list *list)
{
	cleanup_free struct relation *relations = NULL;
	bool grown = true;
	size_t n = 0;
	int r;

	r = read_relations(&relations, &n);
	if (r < 0)
		return r;
	qsort(relations, n, sizeof(*relations), compare_pids);
	for (size_t i = 0; i < n; i++)
		relations[i].ours = is_adopted(processes, relations[i].pid, relations[i].session);
	/* At most one round for each level of the tree. */
	while (grown) {
		grown = false;
		for (size_t i = 0; i < n; i++) {
			if (relations[i].ours ||
			    !parent_is_ours(relations, n, relations[i].parent, processes->root))
				continue;
			relations[i].ours = true;
			grown = true;
		}
	}
	for (size_t i = 0; i < n && r == 0; i++)
		if (relations[i].ours && !relations[i].zombie)
			r = list_add(list, relations[i].pid);
	return r;
}

int processes_list(const struct processes *processes, pid_t **ret_pids, size_t *ret_n)
{
	struct pid_list list = {0};
	int r;

	if (processes->cgroup)
		r = list_cgroup(processes->cgroup, processes->root, DEPTH_MAX, &list);
	else
		r = list_descendants(processes, &list);
	if (r < 0) {
		free(list.pids);
		return r;
	}
	*ret_pids = list.pids;
	*ret_n = list.n;
	return 0;
}

/*
 * A process of which only a thread is still ending is in no cgroup.procs, but the cgroup is busy.
 * One that has been removed is not.
 */
static int is_busy(const char *cgroup)
{
	char name[PATH_MAX], text[256];
	const char *found;
	ssize_t n;

	if (snprintf(name, sizeof(name), "%s/cgroup.events", cgroup) >= (int)sizeof(name))
		return -ENAMETOOLONG;
	cleanup_close int fd = open(name, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	n = read(fd, text, sizeof(text) - 1);
	if (n < 0)
		return errno == ENODEV ? 0 : -errno;
	text[n] = '\0';
	found = strstr(text, "populated ");
	return found && found[strlen("populated ")] == '1';
}

static int any_in_cgroup(const struct processes *processes)
{
	struct pid_list list = {0};
	bool visited = false;
	size_t others = 0;
	int r;

	r = list_cgroup(processes->cgroup, 0, DEPTH_MAX, &list);
	for (size_t i = 0; i < list.n; i++) {
		visited |= list.pids[i] == processes->root;
		others += list.pids[i] != processes->root;
	}
	free(list.pids);
	if (r < 0 || others > 0)
		return r < 0 ? r : 1;
	return visited ? 0 : is_busy(processes->cgroup);
}

int processes_any(const struct processes *processes)
{
	cleanup_free pid_t *pids = NULL;
	size_t n = 0;
	int r;

	if (processes->cgroup)
		return any_in_cgroup(processes);
	r = processes_list(processes, &pids, &n);
	return r < 0 ? r : n > 0;
}

/* The way without .relative, which is not known before processes_enter(). */
static int is_listed(const struct processes *processes, pid_t pid)
{
	cleanup_free pid_t *pids = NULL;
	bool found = false;
	size_t n = 0;
	int r;

	r = processes_list(processes, &pids, &n);
	for (size_t i = 0; i < n && !found; i++)
		found = pids[i] == pid;
	return r < 0 ? r : found;
}

int processes_contain(const struct processes *processes, pid_t pid)
{
	char path[PATH_MAX];
	size_t n = strlen(processes->relative);
	struct process_stat st;
	int r;

	if (pid <= 1)
		return 0;
	if (processes->cgroup) {
		r = read_cgroup(pid, path);
		if (r < 0)
			return r;
		if (n == 0)
			return is_listed(processes, pid);
		return strncmp(path, processes->relative, n) == 0 &&
		       (path[n] == '\0' || path[n] == '/');
	}
	r = read_stat(pid, &st);
	while (r == 0 && !is_adopted(processes, pid, st.session) && st.parent > 1 &&
	       st.parent != processes->root) {
		pid = st.parent;
		r = read_stat(pid, &st);
	}
	return r < 0 ? r : st.parent == processes->root || is_adopted(processes, pid, st.session);
}

int processes_oldest_child(const struct processes *processes, pid_t *ret_pid)
{
	unsigned long long start = 0;
	cleanup_free pid_t *pids = NULL;
	struct process_stat st;
	size_t n = 0;
	int r;

	*ret_pid = 0;
	r = processes_list(processes, &pids, &n);
	if (r < 0)
		return r;
	for (size_t i = 0; i < n; i++) {
		if (read_stat(pids[i], &st) < 0 || is_dead(&st) || st.parent != processes->root)
			continue;
		/* In the same tick the lower pid is older, mostly: pids are given in turn. */
		if (*ret_pid != 0 &&
		    (st.start > start || (st.start == start && pids[i] > *ret_pid)))
			continue;
		*ret_pid = pids[i];
		start = st.start;
	}
	return 0;
}

int processes_adopt(struct processes *processes, pid_t pid)
{
	struct process_stat st;
	int r = read_stat(pid, &st);

	if (r < 0)
		return r;
	processes->adopted = pid;
	processes->session = st.session;
	return 0;
}

int processes_started(pid_t pid, uint64_t *ret)
{
	struct process_stat st;
	int r = read_stat(pid, &st);

	if (r < 0 || is_dead(&st))
		return r < 0 ? r : -ESRCH;
	*ret = st.start;
	return 0;
}

int processes_age(pid_t pid, uint64_t *ret_ms)
{
	uint64_t started, now_ms, started_ms;
	struct timespec now;
	int r = processes_started(pid, &started);

	if (r < 0)
		return r;
	if (clock_gettime(CLOCK_BOOTTIME, &now) < 0)
		return -errno;
	now_ms = (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
	started_ms = started * 1000 / (uint64_t)sysconf(_SC_CLK_TCK);
	*ret_ms = now_ms > started_ms ? now_ms - started_ms : 0;
	return 0;
}

/* ---- families ------------------------------------------------------------------------------- */

/* A process, and what processes_kin() must know of it. */
struct kin_stat {
	pid_t pid;
	struct process_stat stat;
};

static int compare_kin(const void *a, const void *b)
{
	pid_t x = ((const struct kin_stat *)a)->pid, y = ((const struct kin_stat *)b)->pid;

	return (x > y) - (x < y);
}

/* The parent, if it is in the list. */
static const struct kin_stat *parent_of(const struct kin_stat *list, size_t n,
					const struct kin_stat *child)
{
	const struct kin_stat key = {.pid = child->stat.parent};

	return bsearch(&key, list, n, sizeof(*list), compare_kin);
}

/* Not for ever: a pid may be given again while the list is read, and then make a ring of it. */
static const struct kin_stat *head_of(const struct kin_stat *list, size_t n,
				      const struct kin_stat *member)
{
	const struct kin_stat *head = member, *parent;

	for (size_t i = 0; i < n && (head->stat.flags & PF_FORKNOEXEC); i++) {
		parent = parent_of(list, n, head);
		if (!parent)
			break;
		head = parent;
	}
	return head;
}

static int read_kin(const struct processes *processes, struct kin_stat **ret, size_t *ret_n)
{
	cleanup_free pid_t *pids = NULL;
	struct kin_stat *list;
	size_t n = 0;
	int r;

	*ret = NULL;
	*ret_n = 0;
	r = processes_list(processes, &pids, &n);
	if (r < 0 || n == 0)
		return r;
	list = calloc(n, sizeof(*list));
	if (!list)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		struct kin_stat *kin = &list[*ret_n];

		kin->pid = pids[i];
		*ret_n += read_stat(pids[i], &kin->stat) == 0 && !is_dead(&kin->stat);
	}
	qsort(list, *ret_n, sizeof(*list), compare_kin);
	*ret = list;
	return 0;
}

int processes_kin(const struct processes *processes, struct process_kin **ret, size_t *ret_n)
{
	cleanup_free struct kin_stat *list = NULL;
	struct process_kin *kin;
	size_t n;
	int r;

	*ret = NULL;
	*ret_n = 0;
	r = read_kin(processes, &list, &n);
	if (r < 0 || n == 0)
		return r;
	kin = calloc(n, sizeof(*kin));
	if (!kin)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		const struct kin_stat *head = head_of(list, n, &list[i]);

		kin[i] = (struct process_kin){
			.pid = list[i].pid,
			.head = head->pid,
			.forked = head->stat.flags & PF_FORKNOEXEC,
			.start = head->stat.start,
			.ticks = list[i].stat.ticks,
		};
	}
	*ret = kin;
	*ret_n = n;
	return 0;
}

/* Those of a cgroup below it are found by /proc, while they live. */
static bool was_in_cgroup(const struct processes *processes, int pidfd)
{
	struct stat st;
	uint64_t id;

	return processes->cgroup && stat(processes->cgroup, &st) == 0 &&
	       pidfds_cgroup(pidfd, &id) && id == st.st_ino;
}

int processes_contain_pidfd(const struct processes *processes, pid_t pid, int pidfd)
{
	int r;

	if (was_in_cgroup(processes, pidfd))
		return 1;
	r = processes_contain(processes, pid);
	/* If it lives now, the answer was about it. */
	return pidfds_alive(pidfd) ? r : -ESRCH;
}

/* ---- the end -------------------------------------------------------------------------------- */

/* So many are signalled at a time: each takes a descriptor meanwhile. */
#define SIGNAL_CHUNK 64

static int compare_pid(const void *a, const void *b)
{
	pid_t x = *(const pid_t *)a, y = *(const pid_t *)b;

	return (x > y) - (x < y);
}

/* Containers may forbid pidfd_open(2). Then nothing but the pid is left. */
static int send_to(pid_t pid, int pidfd, int signal)
{
	int r = pidfd >= 0 ? pidfd_send_signal(pidfd, signal, NULL, 0) : kill(pid, signal);

	return r < 0 ? -errno : 0;
}

/*
 * The pidfds are opened between two lists. So a process that has one and is in the second list is
 * of the instance; if its pid was given to another one in between, its pidfd is of a dead process.
 */
static int signal_some(const struct processes *processes, const pid_t *pids, size_t n, int signal,
		       unsigned *ret_n)
{
	cleanup_free pid_t *again = NULL;
	int pidfds[SIGNAL_CHUNK];
	bool gone[SIGNAL_CHUNK];
	size_t n_again = 0;
	int result, r;

	for (size_t i = 0; i < n; i++) {
		pidfds[i] = pidfd_open(pids[i], 0);
		gone[i] = pidfds[i] < 0 && errno != ENOSYS && errno != EPERM;
	}
	result = processes_list(processes, &again, &n_again);
	if (result == 0 && n_again > 0)
		qsort(again, n_again, sizeof(*again), compare_pid);
	for (size_t i = 0; i < n; i++) {
		if (!gone[i] && n_again > 0 &&
		    bsearch(&pids[i], again, n_again, sizeof(*again), compare_pid)) {
			r = send_to(pids[i], pidfds[i], signal);
			*ret_n += r == 0;
			if (r < 0 && r != -ESRCH && result == 0)
				result = r;
		}
		if (pidfds[i] >= 0)
			close(pidfds[i]);
	}
	return result;
}

int processes_signal(const struct processes *processes, int signal, unsigned *ret_n)
{
	cleanup_free pid_t *pids = NULL;
	size_t n = 0;
	int r;

	*ret_n = 0;
	r = processes_list(processes, &pids, &n);
	for (size_t i = 0; i < n; i += SIGNAL_CHUNK) {
		size_t some = n - i < SIGNAL_CHUNK ? n - i : SIGNAL_CHUNK;
		int one = signal_some(processes, pids + i, some, signal, ret_n);

		r = r < 0 ? r : one;
	}
	return r;
}

int processes_kill(struct processes *processes)
{
	char path[PATH_MAX];
	unsigned n;

	processes->beginner = UNTRIED;
	if (processes->cgroup && leaf_file(processes, "cgroup.kill", path) == 0 &&
	    write_text(path, "1") == 0)
		return 0;
	return processes_signal(processes, SIGKILL, &n);
}

uint64_t processes_socket(pid_t pid, const char *fd)
{
	char path[64], target[64];
	unsigned long long inode;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/fd/%.16s", (int)pid, fd);
	n = readlink(path, target, sizeof(target) - 1);
	if (n < 0)
		return 0;
	target[n] = '\0';
	return sscanf(target, "socket:[%llu]", &inode) == 1 ? inode : 0;
}
