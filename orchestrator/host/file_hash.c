/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/host/file_hash.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/cleanup.h"

#define CHUNK     (16 * 1024)
#define LABEL     "sha256:"
#define KNOWN_MAX 64

/*
 * The coarsest time stamps of common file systems are a second apart: what has changed more lately
 * may change once more and look the same.
 */
#define SETTLED_SECONDS 2

/* ---- the contents --------------------------------------------------------------------------- */

static bool hash_contents(EVP_MD_CTX *hash, int fd)
{
	unsigned char chunk[CHUNK];
	off_t at = 0;

	/* The limit once more: a file may grow while it is read. */
	while (at <= FILE_HASH_SIZE_MAX) {
		ssize_t n = pread(fd, chunk, sizeof(chunk), at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n == 0;
		if (EVP_DigestUpdate(hash, chunk, (size_t)n) != 1)
			return false;
		at += n;
	}
	return false;
}

static void print_sum(const unsigned char *sum, size_t n, char ret[static FILE_HASH_TEXT_MAX])
{
	size_t at = strlen(LABEL);

	memcpy(ret, LABEL, at + 1);
	for (size_t i = 0; i < n && at + 2 < FILE_HASH_TEXT_MAX; i++, at += 2)
		snprintf(ret + at, 3, "%02x", sum[i]);
}

static bool sha256(int fd, char ret[static FILE_HASH_TEXT_MAX])
{
	unsigned char sum[EVP_MAX_MD_SIZE];
	EVP_MD_CTX *hash = EVP_MD_CTX_new();
	unsigned int n = 0;
	bool done;

	done = hash && EVP_DigestInit_ex(hash, EVP_sha256(), NULL) == 1 &&
	       hash_contents(hash, fd) && EVP_DigestFinal_ex(hash, sum, &n) == 1;
	EVP_MD_CTX_free(hash);
	if (done)
		print_sum(sum, n, ret);
	return done;
}

/* ---- what is known by now ------------------------------------------------------------------- */

/*
 * A reload resolves every service anew, and the daemon does nothing else while it hashes. The
 * oldest entry is replaced.
 */
static struct known {
	struct stat st;
	char hash[FILE_HASH_TEXT_MAX]; /* never empty in a used one */
} known[KNOWN_MAX];
static size_t next_known;

static bool same_time(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

bool file_hash_same_stat(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
	       same_time(&a->st_mtim, &b->st_mtim) && same_time(&a->st_ctim, &b->st_ctim);
}

static const struct known *find_known(const struct stat *st)
{
	for (size_t i = 0; i < KNOWN_MAX; i++)
		if (known[i].hash[0] && file_hash_same_stat(&known[i].st, st))
			return &known[i];
	return NULL;
}

/* @st was taken before the file was read. */
static void remember(int fd, const struct stat *st, const char *hash)
{
	struct known *entry = &known[next_known];
	struct stat after;
	struct timespec now;

	if (fstat(fd, &after) < 0 || !file_hash_same_stat(st, &after))
		return;
	clock_gettime(CLOCK_REALTIME, &now);
	if (now.tv_sec - st->st_ctim.tv_sec <= SETTLED_SECONDS)
		return;
	entry->st = *st;
	strcpy(entry->hash, hash);
	next_known = (next_known + 1) % KNOWN_MAX;
}

/* ---- all of it ------------------------------------------------------------------------------ */

int file_hash_open(const char *path, struct stat *ret_st)
{
	cleanup_close int fd = -1;

	/* Opening a device may do something, so look first; then it may still become a FIFO. */
	if (stat(path, ret_st) < 0 || !S_ISREG(ret_st->st_mode))
		return -1;
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0 || fstat(fd, ret_st) < 0 || !S_ISREG(ret_st->st_mode))
		return -1;
	return TAKE_FD(fd);
}

void file_hash(int fd, const struct stat *st, char ret[static FILE_HASH_TEXT_MAX])
{
	const struct known *entry = find_known(st);

	ret[0] = '\0';
	if (entry)
		strcpy(ret, entry->hash);
	else if (st->st_size <= FILE_HASH_SIZE_MAX && sha256(fd, ret))
		remember(fd, st, ret);
}
