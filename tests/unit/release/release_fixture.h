/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * release_fixture: a folder of its own for each test, and the files in it.
 */
#pragma once

#include <elf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "tests/unit/fakes/folder.h"

#define TEST(name_) cmocka_unit_test_setup_teardown(name_, folder_set_up, folder_tear_down)

/* ---- the smallest ELF file: headers, notes, a payload that a segment covers ----------------- */

#define ELF_NOTES_MAX 128

struct small_elf {
	Elf64_Ehdr header;
	Elf64_Phdr notes, payload;
	char note_bytes[ELF_NOTES_MAX];
	char payload_bytes[16];
};

static inline void add_note(struct small_elf *elf, uint32_t type, const char *name, uint32_t n_name,
			    const void *description, uint32_t n)
{
	Elf64_Nhdr note = {.n_namesz = n_name, .n_descsz = n, .n_type = type};
	size_t align = elf->notes.p_align - 1, at = elf->notes.p_filesz, start;

	start = (at + sizeof(note) + n_name + align) & ~align;
	assert_true(((start + n + align) & ~align) <= ELF_NOTES_MAX);
	memcpy(elf->note_bytes + at, &note, sizeof(note));
	memcpy(elf->note_bytes + at + sizeof(note), name, n_name);
	memcpy(elf->note_bytes + start, description, n);
	elf->notes.p_filesz = (start + n + align) & ~align;
}

/* Notes follow by add_note(). @align is that of the notes, 4 or 8. */
static inline struct small_elf small_elf(unsigned align, const char *payload)
{
	struct small_elf elf = {
		.header = {.e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB,
				       EV_CURRENT},
			   .e_type = ET_EXEC,
			   .e_machine = EM_X86_64,
			   .e_version = EV_CURRENT,
			   .e_phoff = offsetof(struct small_elf, notes),
			   .e_ehsize = sizeof(Elf64_Ehdr),
			   .e_phentsize = sizeof(Elf64_Phdr),
			   .e_phnum = 2},
		.notes = {.p_type = PT_NOTE,
			  .p_offset = offsetof(struct small_elf, note_bytes),
			  .p_align = align},
		.payload = {.p_type = PT_LOAD,
			    .p_offset = offsetof(struct small_elf, payload_bytes),
			    .p_filesz = sizeof(elf.payload_bytes),
			    .p_align = 1},
	};

	strncpy(elf.payload_bytes, payload, sizeof(elf.payload_bytes) - 1);
	return elf;
}

static inline void add_build_id(struct small_elf *elf, const char *id)
{
	add_note(elf, NT_GNU_BUILD_ID, "GNU", 4, id, (uint32_t)strlen(id));
}

/* A program with the build id @id, whatever its @payload. */
static inline void write_elf(const char *name, const char *id, const char *payload)
{
	struct small_elf elf = small_elf(4, payload);

	add_build_id(&elf, id);
	write_bytes(name, &elf, sizeof(elf), 0755);
}
