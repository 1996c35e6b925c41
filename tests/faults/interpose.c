/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * interpose: makes one call of the C library fail, in batond or in its agents.
 *
 * It is preloaded (LD_PRELOAD) into batond, whose agents inherit it. All of them share a file,
 * which BATON_FAULTS names and a test maps, too (tests/integration/faults.py): struct faults. While
 * "armed" is 1, each call of the chosen class by the chosen program is counted, and those from
 * number "from" on, "span" of them, fail with "error" and do nothing. Where the first one came from
 * is noted, as offsets that addr2line understands.
 *
 * A call fails only in a way in which Linux may let it fail: close(2) always closes, read(2) fails
 * of files only, waiting never fails.
 */
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <unistd.h>

#pragma GCC diagnostic ignored "-Wmissing-prototypes"
#pragma GCC diagnostic ignored "-Wnonnull-compare"

enum program { PROGRAM_NONE, PROGRAM_BATOND, PROGRAM_AGENT };

/* The names are faults.py's. */
enum class {
	CLASS_MEMORY,
	CLASS_DESCRIPTOR,
	CLASS_FILE,
	CLASS_READ,
	CLASS_NETWORK,
	CLASS_PROCESS,
	CLASS_LOOP,
	CLASS_BPF,
	_CLASS_COUNT,
};

#define FRAMES_MAX 16

struct faults {
	uint32_t program; /* enum program */
	uint32_t class;
	int32_t error;
	_Atomic uint32_t armed;
	uint64_t from;
	uint64_t span;
	_Atomic uint64_t hits;                 /* so many have failed */
	_Atomic uint64_t counts[_CLASS_COUNT]; /* the chosen program's, since it was armed */
	uint32_t pid;                          /* whose the first was, and of what */
	char call[28];
	uint32_t n_frames;
	uint32_t padding;
	struct {
		uint64_t offset;
		char file[120];
	} frames[FRAMES_MAX];
};
_Static_assert(offsetof(struct faults, hits) == 32, "as faults.py has it");
_Static_assert(offsetof(struct faults, frames) == 144, "as faults.py has it");

static struct faults *faults;
static enum program own;

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t n, size_t size);
extern void *__libc_realloc(void *pointer, size_t size);

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

__attribute__((constructor)) static void attach(void)
{
	const char *path = getenv("BATON_FAULTS");
	char exe[512] = "";
	void *frames[4];
	void *shared;
	int fd;

	if (!path || syscall(SYS_readlink, "/proc/self/exe", exe, sizeof(exe) - 1) < 0)
		return;
	if (strcmp(base_name(exe), "batond") == 0)
		own = PROGRAM_BATOND;
	else if (strcmp(base_name(exe), "baton-agent") == 0)
		own = PROGRAM_AGENT;
	else
		return;
	/* What it loads and allocates it does now. */
	backtrace(frames, 4);
	fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC, 0);
	if (fd < 0)
		return;
	shared = (void *)syscall(SYS_mmap, NULL, sizeof(*faults), PROT_READ | PROT_WRITE,
				 MAP_SHARED, fd, 0);
	syscall(SYS_close, fd);
	if (shared != MAP_FAILED)
		faults = shared;
}

static void note(const char *call)
{
	void *frames[FRAMES_MAX];
	int n = backtrace(frames, FRAMES_MAX);

	snprintf(faults->call, sizeof(faults->call), "%s", call);
	faults->pid = (uint32_t)syscall(SYS_getpid);
	for (int k = 0; k < n; k++) {
		Dl_info info;

		if (!dladdr(frames[k], &info))
			continue;
		faults->frames[k].offset =
			(uint64_t)((char *)frames[k] - (char *)info.dli_fbase - 1);
		snprintf(faults->frames[k].file, sizeof(faults->frames[k].file), "%s",
			 info.dli_fname);
	}
	faults->n_frames = (uint32_t)n;
}

static __thread bool inside;

/* Is this call of @class one that fails? Then errno says why. */
static bool fails(enum class class, const char *call)
{
	uint64_t number;

	if (!faults || inside || !atomic_load(&faults->armed) || faults->program != own)
		return false;
	number = atomic_fetch_add(&faults->counts[class], 1) + 1;
	if (faults->class != class || number < faults->from ||
	    number >= faults->from + faults->span)
		return false;
	inside = true;
	if (atomic_fetch_add(&faults->hits, 1) == 0)
		note(call);
	inside = false;
	errno = faults->error;
	return true;
}

/* The next definition of @name, which is @type. */
#define NEXT(name)                                                                                 \
	({                                                                                         \
		static typeof(&name) next_##name;                                                  \
		if (!next_##name) {                                                                \
			bool before = inside;                                                      \
			inside = true;                                                             \
			next_##name = (typeof(&name))dlsym(RTLD_NEXT, #name);                      \
			inside = before;                                                           \
		}                                                                                  \
		next_##name;                                                                       \
	})

/* A function with these parameters that fails with @failure. */
#define WRAP(type, name, class, failure, parameters, arguments)                                    \
	type name parameters                                                                       \
	{                                                                                          \
		return fails(class, #name) ? (failure) : NEXT(name) arguments;                     \
	}

/* ---- memory --------------------------------------------------------------------------------- */

void *malloc(size_t size)
{
	return fails(CLASS_MEMORY, "malloc") ? NULL : __libc_malloc(size);
}

void *calloc(size_t n, size_t size)
{
	return fails(CLASS_MEMORY, "calloc") ? NULL : __libc_calloc(n, size);
}

void *realloc(void *pointer, size_t size)
{
	return fails(CLASS_MEMORY, "realloc") ? NULL : __libc_realloc(pointer, size);
}

WRAP(void *, reallocarray, CLASS_MEMORY, NULL, (void *p, size_t n, size_t size), (p, n, size))
WRAP(void *, mmap, CLASS_MEMORY, MAP_FAILED, (void *at, size_t n, int p, int f, int fd, off_t o),
     (at, n, p, f, fd, o))
WRAP(void *, mmap64, CLASS_MEMORY, MAP_FAILED,
     (void *at, size_t n, int p, int f, int fd, off64_t o), (at, n, p, f, fd, o))

/* ---- descriptors ---------------------------------------------------------------------------- */

/* Opening for writing counts as a file, too: a full disk refuses it. */
static bool open_fails(const char *call, int flags)
{
	return fails(CLASS_DESCRIPTOR, call) || ((flags & O_CREAT) && fails(CLASS_FILE, call));
}

#define WRAP_OPEN(name)                                                                            \
	int name(const char *path, int flags, ...)                                                 \
	{                                                                                          \
		va_list list;                                                                      \
		mode_t mode;                                                                       \
                                                                                                   \
		va_start(list, flags);                                                             \
		mode = (flags & (O_CREAT | O_TMPFILE)) ? va_arg(list, mode_t) : 0;                 \
		va_end(list);                                                                      \
		return open_fails(#name, flags) ? -1 : NEXT(name)(path, flags, mode);              \
	}
#define WRAP_OPENAT(name)                                                                          \
	int name(int folder, const char *path, int flags, ...)                                     \
	{                                                                                          \
		va_list list;                                                                      \
		mode_t mode;                                                                       \
                                                                                                   \
		va_start(list, flags);                                                             \
		mode = (flags & (O_CREAT | O_TMPFILE)) ? va_arg(list, mode_t) : 0;                 \
		va_end(list);                                                                      \
		return open_fails(#name, flags) ? -1 : NEXT(name)(folder, path, flags, mode);      \
	}
WRAP_OPEN(open)
WRAP_OPEN(open64)
WRAP_OPENAT(openat)
WRAP_OPENAT(openat64)

/* With _FORTIFY_SOURCE calls go here. */
extern int __open_2(const char *path, int flags);
extern int __open64_2(const char *path, int flags);
extern int __openat_2(int folder, const char *path, int flags);
extern int __openat64_2(int folder, const char *path, int flags);
WRAP(int, __open_2, CLASS_DESCRIPTOR, -1, (const char *path, int flags), (path, flags))
WRAP(int, __open64_2, CLASS_DESCRIPTOR, -1, (const char *path, int flags), (path, flags))
WRAP(int, __openat_2, CLASS_DESCRIPTOR, -1, (int at, const char *path, int flags),
     (at, path, flags))
WRAP(int, __openat64_2, CLASS_DESCRIPTOR, -1, (int at, const char *path, int flags),
     (at, path, flags))

WRAP(FILE *, fopen, CLASS_DESCRIPTOR, NULL, (const char *path, const char *mode), (path, mode))
WRAP(FILE *, fopen64, CLASS_DESCRIPTOR, NULL, (const char *path, const char *mode), (path, mode))
WRAP(DIR *, opendir, CLASS_DESCRIPTOR, NULL, (const char *path), (path))
WRAP(int, socket, CLASS_DESCRIPTOR, -1, (int domain, int type, int protocol),
     (domain, type, protocol))
WRAP(int, socketpair, CLASS_DESCRIPTOR, -1, (int d, int t, int p, int fds[2]), (d, t, p, fds))
WRAP(int, accept, CLASS_DESCRIPTOR, -1, (int fd, struct sockaddr *at, socklen_t *n), (fd, at, n))
WRAP(int, accept4, CLASS_DESCRIPTOR, -1, (int fd, struct sockaddr *at, socklen_t *n, int flags),
     (fd, at, n, flags))
WRAP(int, pipe2, CLASS_DESCRIPTOR, -1, (int fds[2], int flags), (fds, flags))
WRAP(int, dup, CLASS_DESCRIPTOR, -1, (int fd), (fd))
WRAP(int, epoll_create1, CLASS_DESCRIPTOR, -1, (int flags), (flags))
WRAP(int, timerfd_create, CLASS_DESCRIPTOR, -1, (clockid_t clock, int flags), (clock, flags))
WRAP(int, inotify_init1, CLASS_DESCRIPTOR, -1, (int flags), (flags))
WRAP(int, memfd_create, CLASS_DESCRIPTOR, -1, (const char *name, unsigned flags), (name, flags))
extern int pidfd_open(pid_t pid, unsigned flags);
extern int pidfd_getfd(int pidfd, int fd, unsigned flags);
WRAP(int, pidfd_open, CLASS_DESCRIPTOR, -1, (pid_t pid, unsigned flags), (pid, flags))
WRAP(int, pidfd_getfd, CLASS_DESCRIPTOR, -1, (int pidfd, int fd, unsigned flags),
     (pidfd, fd, flags))

#define WRAP_FCNTL(name)                                                                           \
	int name(int fd, int command, ...)                                                         \
	{                                                                                          \
		va_list list;                                                                      \
		void *argument;                                                                    \
		bool duplicates = command == F_DUPFD || command == F_DUPFD_CLOEXEC;                \
                                                                                                   \
		va_start(list, command);                                                           \
		argument = va_arg(list, void *);                                                   \
		va_end(list);                                                                      \
		return duplicates && fails(CLASS_DESCRIPTOR, #name)                                \
			       ? -1                                                                \
			       : NEXT(name)(fd, command, argument);                                \
	}
WRAP_FCNTL(fcntl)
WRAP_FCNTL(fcntl64)

/* ---- files ---------------------------------------------------------------------------------- */

static bool is_file(int fd)
{
	struct stat st;

	return syscall(SYS_fstat, fd, &st) == 0 && S_ISREG(st.st_mode);
}

#define FILE_FAILS(fd, call) (is_file(fd) && fails(CLASS_FILE, call))
#define READ_FAILS(fd, call) (is_file(fd) && fails(CLASS_READ, call))

ssize_t write(int fd, const void *data, size_t n)
{
	return FILE_FAILS(fd, "write") ? -1 : NEXT(write)(fd, data, n);
}

ssize_t pwrite(int fd, const void *data, size_t n, off_t at)
{
	return FILE_FAILS(fd, "pwrite") ? -1 : NEXT(pwrite)(fd, data, n, at);
}

ssize_t pwritev(int fd, const struct iovec *parts, int n, off_t at)
{
	return FILE_FAILS(fd, "pwritev") ? -1 : NEXT(pwritev)(fd, parts, n, at);
}

WRAP(int, fsync, CLASS_FILE, -1, (int fd), (fd))
WRAP(int, ftruncate, CLASS_FILE, -1, (int fd, off_t n), (fd, n))
WRAP(int, rename, CLASS_FILE, -1, (const char *from, const char *to), (from, to))
WRAP(int, renameat2, CLASS_FILE, -1,
     (int from_at, const char *from, int to_at, const char *to, unsigned flags),
     (from_at, from, to_at, to, flags))
WRAP(int, mkdir, CLASS_FILE, -1, (const char *path, mode_t mode), (path, mode))
WRAP(int, unlink, CLASS_FILE, -1, (const char *path), (path))
WRAP(int, rmdir, CLASS_FILE, -1, (const char *path), (path))
WRAP(int, remove, CLASS_FILE, -1, (const char *path), (path))
WRAP(int, chmod, CLASS_FILE, -1, (const char *path, mode_t mode), (path, mode))
WRAP(int, fchown, CLASS_FILE, -1, (int fd, uid_t user, gid_t group), (fd, user, group))
WRAP(int, lchown, CLASS_FILE, -1, (const char *path, uid_t user, gid_t group), (path, user, group))

ssize_t read(int fd, void *data, size_t n)
{
	return READ_FAILS(fd, "read") ? -1 : NEXT(read)(fd, data, n);
}

ssize_t pread(int fd, void *data, size_t n, off_t at)
{
	return READ_FAILS(fd, "pread") ? -1 : NEXT(pread)(fd, data, n, at);
}

extern ssize_t __pread_chk(int fd, void *data, size_t n, off_t at, size_t room);
ssize_t __pread_chk(int fd, void *data, size_t n, off_t at, size_t room)
{
	return READ_FAILS(fd, "pread") ? -1 : NEXT(__pread_chk)(fd, data, n, at, room);
}

WRAP(int, stat, CLASS_READ, -1, (const char *path, struct stat *ret), (path, ret))
WRAP(int, lstat, CLASS_READ, -1, (const char *path, struct stat *ret), (path, ret))
WRAP(int, fstat, CLASS_READ, -1, (int fd, struct stat *ret), (fd, ret))
WRAP(int, fstatfs, CLASS_READ, -1, (int fd, struct statfs *ret), (fd, ret))
WRAP(int, access, CLASS_READ, -1, (const char *path, int mode), (path, mode))
WRAP(ssize_t, readlink, CLASS_READ, -1, (const char *path, char *ret, size_t size),
     (path, ret, size))
WRAP(ssize_t, readlinkat, CLASS_READ, -1, (int at, const char *path, char *ret, size_t size),
     (at, path, ret, size))
WRAP(char *, realpath, CLASS_READ, NULL, (const char *path, char *ret), (path, ret))
WRAP(int, scandir, CLASS_READ, -1,
     (const char *path, struct dirent ***list, int (*filter)(const struct dirent *),
      int (*compare)(const struct dirent **, const struct dirent **)),
     (path, list, filter, compare))

/* ---- the network ---------------------------------------------------------------------------- */

WRAP(int, bind, CLASS_NETWORK, -1, (int fd, const struct sockaddr *at, socklen_t n), (fd, at, n))
WRAP(int, listen, CLASS_NETWORK, -1, (int fd, int backlog), (fd, backlog))
WRAP(int, connect, CLASS_NETWORK, -1, (int fd, const struct sockaddr *at, socklen_t n), (fd, at, n))
WRAP(ssize_t, send, CLASS_NETWORK, -1, (int fd, const void *data, size_t n, int flags),
     (fd, data, n, flags))
WRAP(ssize_t, sendto, CLASS_NETWORK, -1,
     (int fd, const void *data, size_t n, int flags, const struct sockaddr *at, socklen_t size),
     (fd, data, n, flags, at, size))
WRAP(ssize_t, sendmsg, CLASS_NETWORK, -1, (int fd, const struct msghdr *message, int flags),
     (fd, message, flags))
WRAP(ssize_t, recv, CLASS_NETWORK, -1, (int fd, void *data, size_t n, int flags),
     (fd, data, n, flags))
WRAP(ssize_t, recvmsg, CLASS_NETWORK, -1, (int fd, struct msghdr *message, int flags),
     (fd, message, flags))
WRAP(int, setsockopt, CLASS_NETWORK, -1,
     (int fd, int level, int name, const void *value, socklen_t n), (fd, level, name, value, n))
WRAP(int, getsockopt, CLASS_NETWORK, -1, (int fd, int level, int name, void *value, socklen_t *n),
     (fd, level, name, value, n))
WRAP(int, getsockname, CLASS_NETWORK, -1, (int fd, struct sockaddr *at, socklen_t *n), (fd, at, n))

/* ---- processes ------------------------------------------------------------------------------ */

WRAP(pid_t, fork, CLASS_PROCESS, -1, (void), ())
WRAP(int, execve, CLASS_PROCESS, -1,
     (const char *path, char *const *argv, char *const *environment), (path, argv, environment))
WRAP(int, execv, CLASS_PROCESS, -1, (const char *path, char *const *argv), (path, argv))
WRAP(int, setresuid, CLASS_PROCESS, -1, (uid_t r, uid_t e, uid_t s), (r, e, s))
WRAP(int, setresgid, CLASS_PROCESS, -1, (gid_t r, gid_t e, gid_t s), (r, e, s))
WRAP(int, setgroups, CLASS_PROCESS, -1, (size_t n, const gid_t *list), (n, list))
WRAP(int, unshare, CLASS_PROCESS, -1, (int flags), (flags))
WRAP(int, chdir, CLASS_PROCESS, -1, (const char *path), (path))

int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *),
		   void *argument)
{
	return fails(CLASS_PROCESS, "pthread_create")
		       ? errno
		       : NEXT(pthread_create)(thread, attributes, start, argument);
}

/* ---- the loop ------------------------------------------------------------------------------- */

int epoll_ctl(int epoll, int operation, int fd, struct epoll_event *event)
{
	/* Only adding needs memory. */
	return operation == EPOLL_CTL_ADD && fails(CLASS_LOOP, "epoll_ctl")
		       ? -1
		       : NEXT(epoll_ctl)(epoll, operation, fd, event);
}

WRAP(int, inotify_add_watch, CLASS_LOOP, -1, (int fd, const char *path, uint32_t mask),
     (fd, path, mask))

/* ---- without a name in the library ---------------------------------------------------------- */

long syscall(long number, ...)
{
	static long (*next)(long number, ...);
	va_list list;
	long a[6];

	va_start(list, number);
	for (int k = 0; k < 6; k++)
		a[k] = va_arg(list, long);
	va_end(list);
	if (!next) {
		bool before = inside;

		inside = true;
		next = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall");
		inside = before;
	}
	if (number == SYS_bpf && fails(CLASS_BPF, "bpf"))
		return -1;
	if ((number == SYS_pidfd_open || number == SYS_pidfd_getfd || number == SYS_memfd_create) &&
	    fails(CLASS_DESCRIPTOR, "syscall"))
		return -1;
	return next(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}
