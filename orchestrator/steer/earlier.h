/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * earlier: the maps that an earlier daemon has left, of which those go on that fit.
 *
 * They are pinned. But pins can be gone, or be of other maps than those that a program still runs
 * with: somebody removed them, or another version of baton was there in between. So the program is
 * asked first: the kernel tells which maps it has, and with CAP_SYS_ADMIN also opens them. A pin
 * counts if it is of one of those; without such a program, each pin counts.
 *
 * Usage: any number of earlier_add_program(), then earlier_add_pin() for each name, then
 * earlier_find() and earlier_fits() before the maps are made, then earlier_pin() for each of those
 * that are in use.
 */
#pragma once

#include <bpf/libbpf.h>
#include <linux/bpf.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "common/error.h"

#define EARLIER_MAX 32

struct earlier_map {
	char name[BPF_OBJ_NAME_LEN]; /* as the kernel has it; "": it cannot be opened */
	uint32_t id;
	int fd; /* -1: it cannot be opened */
};

struct earlier {
	struct earlier_map list[EARLIER_MAX];
	size_t n;
	bool known; /* they are those of a program, and no others */
};

/* Takes one that is all zero, too. */
void earlier_done(struct earlier *earlier);

static inline void earlier_done_ptr(struct earlier *earlier)
{
	earlier_done(earlier);
}

/* Those that @program_fd has. Nothing if the kernel does not tell. */
void earlier_add_program(struct earlier *earlier, int program_fd);

/*
 * What is pinned as @name in @folder, if it counts; @map_name: what the kernel calls it. An error
 * if it is there and cannot be opened.
 */
int earlier_add_pin(struct earlier *earlier, const char *folder, const char *name,
		    const char *map_name, struct error *err);

/* Drop the map of that name: it is none of those that are in use. */
void earlier_forget(struct earlier *earlier, const char *map_name);

/* Its descriptor, which stays the object's; -1: there is none. */
int earlier_find(const struct earlier *earlier, const char *map_name);

/*
 * Can the program go on with the map @fd in the place of @map, which is not made yet? Type, sizes
 * of keys and values, and flags are the same, but for preallocation; it has @entries_min entries or
 * more. @other_type: a type that will do, too; BPF_MAP_TYPE_UNSPEC: none.
 */
bool earlier_fits(int fd, const struct bpf_map *map, uint32_t entries_min,
		  enum bpf_map_type other_type);

/* How many entries it has; 0: that cannot be told. */
uint32_t earlier_entries(int fd);

/* Pin @fd as @name in @folder, in place of what is there. 0: it was pinned so already; else 1. */
int earlier_pin(int fd, const char *folder, const char *name, struct error *err);
void earlier_unpin(const char *folder, const char *name);

/*
 * Folders of pins carry the version of their maps' layout, in a map "layout" of one number, which
 * the programs have, too. Earlier versions of baton, which had none, had layout 1.
 */
#define EARLIER_LAYOUT "layout"
#define EARLIER_NEXT   "_next" /* behind a pin's name, as long as it replaces another */
uint32_t earlier_layout(const struct earlier *earlier);

/*
 * Note that the maps in @folder ("": nowhere), and those of @program_fd (-1: none), have this
 * layout.
 */
int earlier_note_layout(const char *folder, int program_fd, uint32_t layout, struct error *err);
