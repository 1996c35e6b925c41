/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * api_text: a long answer, which is made piece by piece while it is sent. Part of api.h.
 */
#pragma once

struct api_text {
	/* The next piece, from malloc(3); empty: that was all; NULL: it cannot be made. */
	char *(*next)(void *userdata);
	void (*free)(void *userdata);
	void *userdata;
};
