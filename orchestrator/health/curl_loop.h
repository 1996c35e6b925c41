/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * curl_loop: libcurl's multi handle inside an sd-event loop; the half of probe that knows nothing
 * of probes. Nobody but probe uses it.
 *
 * curl must not be called back into while it works (curl_loop_busy()): from its callbacks, and
 * from on_done, nothing may be added or cleaned up; note it and do it from a source of the loop.
 */
#pragma once

#include <curl/curl.h>
#include <stdbool.h>
#include <systemd/sd-event.h>

struct curl_loop;

/*
 * @on_done: the transfer has ended with @code. @on_unwatched: the loop cannot watch its socket,
 * for want of memory or of epoll's watches, and only its timeout would end it. -ENOMEM, or what
 * sd-event says.
 */
int curl_loop_new(sd_event *event, void (*on_done)(void *userdata, CURL *easy, CURLcode code),
		  void (*on_unwatched)(void *userdata, CURL *easy, int error), void *userdata,
		  struct curl_loop **ret);

/* All transfers must have been cleaned up. Takes NULL. */
void curl_loop_free(struct curl_loop *loop);

bool curl_loop_busy(const struct curl_loop *loop);

/* Begin the transfer. Nothing of it happens before the loop's next turn. */
CURLMcode curl_loop_add(struct curl_loop *loop, CURL *easy);

/* Take the transfer out, and close its connection. It may be begun again. */
void curl_loop_remove(struct curl_loop *loop, CURL *easy);

/* Take the transfer out, wherever it is (also one that was never added), and free it. */
void curl_loop_cleanup(struct curl_loop *loop, CURL *easy);
