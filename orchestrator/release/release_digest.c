/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/release/release.h"

#include <errno.h>
#include <fcntl.h>
#include <gelf.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#define CHUNK          (16 * 1024)
#define NOTES_MAX      (1024 * 1024) /* bytes of notes that are looked at; a program has some 100 */
#define SEGMENTS_MAX   4096
#define SECTIONS_MAX   65536
#define BUILD_ID_LABEL "build-id:"
#define SHA256_LABEL   "sha256:"
#define KNOWN_MAX      64

/*
 * The coarsest time stamps of common file systems are a second apart: what has changed more lately
 * may change once more and look the same.
 */
#define SETTLED_SECONDS 2

/* "LABEL" and @bytes in hexadecimal; false: that does not fit. */
static bool print_digest(const char *label, const unsigned char *bytes, size_t n,
			 char ret[static RELEASE_DIGEST_MAX])
{
	size_t at = strlen(label);

	if (at + 2 * n >= RELEASE_DIGEST_MAX)
		return false;
	memcpy(ret, label, at);
	for (size_t i = 0; i < n; i++)
		snprintf(ret + at + 2 * i, 3, "%02x", bytes[i]);
	return true;
}

/* ---- the build id --------------------------------------------------------------------------- */

static bool find_in_notes(Elf_Data *data, char ret[static RELEASE_DIGEST_MAX])
{
	size_t at = 0, name, description;
	GElf_Nhdr note;

	while ((at = gelf_getnote(data, at, &note, &name, &description))) {
		const unsigned char *bytes = data->d_buf;

		if (note.n_type == NT_GNU_BUILD_ID && note.n_namesz == sizeof("GNU") &&
		    memcmp(bytes + name, "GNU", sizeof("GNU")) == 0 && note.n_descsz > 0)
			return print_digest(BUILD_ID_LABEL, bytes + description, note.n_descsz,
					    ret);
	}
	return false;
}

/* @left is how many bytes may still be read. */
static bool find_in_chunk(Elf *elf, uint64_t offset, uint64_t size, uint64_t align, size_t *left,
			  char ret[static RELEASE_DIGEST_MAX])
{
	Elf_Data *data;

	if (size == 0 || size > *left || offset > INT64_MAX)
		return false;
	*left -= size;
	data = elf_getdata_rawchunk(elf, (int64_t)offset, size,
				    align == 8 ? ELF_T_NHDR8 : ELF_T_NHDR);
	return data && find_in_notes(data, ret);
}

/* By the segments, as sections may have been stripped; but Go's linker has it in a section only. */
static bool find_build_id(Elf *elf, char ret[static RELEASE_DIGEST_MAX])
{
	size_t segments, left = NOTES_MAX;
	Elf_Scn *section = NULL;

	if (elf_getphdrnum(elf, &segments) < 0)
		return false;
	for (size_t i = 0; i < segments; i++) {
		GElf_Phdr segment;

		if (gelf_getphdr(elf, (int)i, &segment) && segment.p_type == PT_NOTE &&
		    find_in_chunk(elf, segment.p_offset, segment.p_filesz, segment.p_align, &left,
				  ret))
			return true;
	}
	while ((section = elf_nextscn(elf, section))) {
		GElf_Shdr header;

		if (gelf_getshdr(section, &header) && header.sh_type == SHT_NOTE &&
		    find_in_chunk(elf, header.sh_offset, header.sh_size, header.sh_addralign, &left,
				  ret))
			return true;
	}
	return false;
}

static void extend(uint64_t *end, uint64_t offset, uint64_t size)
{
	uint64_t to;

	if (__builtin_add_overflow(offset, size, &to))
		to = UINT64_MAX;
	if (to > *end)
		*end = to;
}

/* Where the last of what the ELF headers tell of ends; 0: there are too many to look at. */
static uint64_t end_of(Elf *elf)
{
	Elf_Scn *section = NULL;
	uint64_t end = 0;
	size_t segments, sections;
	GElf_Ehdr header;

	if (!gelf_getehdr(elf, &header) || elf_getphdrnum(elf, &segments) < 0 ||
	    elf_getshdrnum(elf, &sections) < 0 || segments > SEGMENTS_MAX ||
	    sections > SECTIONS_MAX)
		return 0;
	extend(&end, header.e_shoff, sections * header.e_shentsize);
	for (size_t i = 0; i < segments; i++) {
		GElf_Phdr segment;

		if (gelf_getphdr(elf, (int)i, &segment))
			extend(&end, segment.p_offset, segment.p_filesz);
	}
	while ((section = elf_nextscn(elf, section))) {
		GElf_Shdr header_of;

		if (gelf_getshdr(section, &header_of) && header_of.sh_type != SHT_NOBITS)
			extend(&end, header_of.sh_offset, header_of.sh_size);
	}
	return end;
}

/*
 * A program that carries its payload behind the ELF file (a bundled script, an archive) has the
 * build id of the loader in front, whatever the payload is: there it says nothing.
 */
static bool build_id(int fd, uint64_t size, char ret[static RELEASE_DIGEST_MAX])
{
	bool found = false;
	Elf *elf;

	if (elf_version(EV_CURRENT) == EV_NONE)
		return false;
	/* Read, not mapped: a file that is cut short meanwhile would be a SIGBUS. */
	elf = elf_begin(fd, ELF_C_READ, NULL);
	if (elf && elf_kind(elf) == ELF_K_ELF)
		found = end_of(elf) >= size && find_build_id(elf, ret);
	elf_end(elf);
	return found;
}

/* ---- the contents --------------------------------------------------------------------------- */

static bool hash_contents(EVP_MD_CTX *hash, int fd)
{
	unsigned char chunk[CHUNK];
	off_t at = 0;

	/* The limit once more: a file may grow while it is read. */
	while (at <= RELEASE_HASH_MAX) {
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

static bool sha256(int fd, char ret[static RELEASE_DIGEST_MAX])
{
	unsigned char sum[EVP_MAX_MD_SIZE];
	EVP_MD_CTX *hash = EVP_MD_CTX_new();
	unsigned int n = 0;
	bool done;

	done = hash && EVP_DigestInit_ex(hash, EVP_sha256(), NULL) == 1 &&
	       hash_contents(hash, fd) && EVP_DigestFinal_ex(hash, sum, &n) == 1 &&
	       print_digest(SHA256_LABEL, sum, n, ret);
	EVP_MD_CTX_free(hash);
	return done;
}

/* ---- what is known by now ------------------------------------------------------------------- */

/*
 * A reload resolves every service anew, and the daemon does nothing else while it hashes: files
 * that have not changed since are not read again. The oldest entry is replaced.
 */
static struct known {
	struct stat st;
	char digest[RELEASE_DIGEST_MAX];
	char hash[RELEASE_DIGEST_MAX]; /* never empty in a used one */
} known[KNOWN_MAX];
static size_t next_known;

static bool same_time(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

/* The time of the last change cannot be set back by its owner, that of the last write can. */
static bool same_file(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
	       same_time(&a->st_mtim, &b->st_mtim) && same_time(&a->st_ctim, &b->st_ctim);
}

static const struct known *find_known(const struct stat *st)
{
	for (size_t i = 0; i < KNOWN_MAX; i++)
		if (known[i].hash[0] && same_file(&known[i].st, st))
			return &known[i];
	return NULL;
}

/* @st was taken before the file was read. */
static void remember(int fd, const struct stat *st, const struct release *release)
{
	struct known *entry = &known[next_known];
	struct stat after;
	struct timespec now;

	if (!release->hash[0] || fstat(fd, &after) < 0 || !same_file(st, &after))
		return;
	clock_gettime(CLOCK_REALTIME, &now);
	if (now.tv_sec - st->st_ctim.tv_sec <= SETTLED_SECONDS)
		return;
	entry->st = *st;
	strcpy(entry->digest, release->digest);
	strcpy(entry->hash, release->hash);
	next_known = (next_known + 1) % KNOWN_MAX;
}

/* ---- all of it ------------------------------------------------------------------------------ */

static int open_regular(const char *path, struct stat *ret)
{
	cleanup_close int fd = -1;

	/* Opening a device may do something, so look first; then it may still become a FIFO. */
	if (stat(path, ret) < 0 || !S_ISREG(ret->st_mode))
		return -1;
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0 || fstat(fd, ret) < 0 || !S_ISREG(ret->st_mode))
		return -1;
	return TAKE_FD(fd);
}

void release_identify(const char *path, struct release *release)
{
	struct stat st = {};
	cleanup_close int fd = open_regular(path, &st);
	const struct known *entry;

	release->digest[0] = release->hash[0] = '\0';
	if (fd < 0)
		return;
	entry = find_known(&st);
	if (entry) {
		strcpy(release->digest, entry->digest);
		strcpy(release->hash, entry->hash);
		return;
	}
	if (st.st_size > RELEASE_HASH_MAX || !sha256(fd, release->hash))
		release->hash[0] = '\0';
	if (!build_id(fd, (uint64_t)st.st_size, release->digest))
		strcpy(release->digest, release->hash);
	remember(fd, &st, release);
}

void release_hash(const char *path, char ret[static RELEASE_DIGEST_MAX])
{
	struct release release;

	release_identify(path, &release);
	strcpy(ret, release.hash);
}
