/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/release/release.h"

#include <gelf.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "common/cleanup.h"
#include "orchestrator/host/file_hash.h"
#include "orchestrator/host/sight.h"

#define NOTES_MAX      (1024 * 1024) /* bytes of notes that are looked at; a program has some 100 */
#define SEGMENTS_MAX   4096
#define SECTIONS_MAX   65536
#define BUILD_ID_LABEL "build-id:"

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

/* ---- all of it ------------------------------------------------------------------------------ */

/* Zero: the file cannot be read. */
struct identity {
	char digest[RELEASE_DIGEST_MAX];
	char hash[RELEASE_DIGEST_MAX];
};

static void read_identity(const char *path, struct identity *ret)
{
	struct stat st = {};
	cleanup_close int fd = file_hash_open(path, &st);

	if (fd < 0)
		return;
	file_hash(fd, &st, ret->hash);
	if (!build_id(fd, (uint64_t)st.st_size, ret->digest))
		strcpy(ret->digest, ret->hash);
}

void release_identify(const char *path, struct release *release)
{
	char question[SIGHT_QUESTION_MAX];
	struct identity identity = {};
	const void *known;
	size_t n;

	sight_ask(question, "identity %s", path);
	if (sight_recall(question, &known, &n) && n == sizeof(identity)) {
		memcpy(&identity, known, n);
	} else {
		sight_at(path);
		read_identity(path, &identity);
		sight_note(question, &identity, sizeof(identity));
	}
	memcpy(release->digest, identity.digest, sizeof(release->digest));
	memcpy(release->hash, identity.hash, sizeof(release->hash));
}

void release_hash(const char *path, char ret[static RELEASE_DIGEST_MAX])
{
	char question[SIGHT_QUESTION_MAX];
	cleanup_close int fd = -1;
	const void *known;
	struct stat st;
	size_t n;

	sight_ask(question, "hash %s", path);
	if (sight_recall(question, &known, &n) && n == RELEASE_DIGEST_MAX) {
		memcpy(ret, known, n);
		return;
	}
	sight_at(path);
	memset(ret, 0, RELEASE_DIGEST_MAX);
	fd = file_hash_open(path, &st);
	if (fd >= 0)
		file_hash(fd, &st, ret);
	sight_note(question, ret, RELEASE_DIGEST_MAX);
}
