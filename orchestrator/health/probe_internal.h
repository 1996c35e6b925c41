/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * probe_internal: what the files of the probe module share.
 *
 *	probe.c			the life of a probe, and the prober
 *	probe_base.c		what the others need
 *	probe_connect.c		its connection, up to where curl or on_connected goes on
 *	probe_end.c		what else its connection knows, before it is closed
 *	probe_request.c		the question, as options of curl
 *	probe_describe.c	the answer, in words
 */
#pragma once

#include <curl/curl.h>
#include <regex.h>

#include "common/timer.h"
#include "orchestrator/health/answer.h"
#include "orchestrator/health/curl_loop.h"
#include "orchestrator/health/explain.h"
#include "orchestrator/health/grpc.h"
#include "orchestrator/health/probe.h"

#define PROBE_PATH_SHOWN_MAX 100
#define PROBE_HEADER_MAX     512
#define PROBE_METHOD_MAX     16
#define PROBE_FOLLOWS_MAX    5
#define PROBE_LINE_MAX       100000 /* bytes of a header that is too long, or more */

enum probe_state {
	PROBE_NEW,        /* to be begun */
	PROBE_READING,    /* its CA file is being read */
	PROBE_CONNECTING, /* .io and .timer say how that ends */
	PROBE_RUNNING,    /* with curl */
	PROBE_ENDED,      /* .refused, or curl is done with it: .code */
	PROBE_ASKING,     /* connected; on_connected is asked until it says yes */
	PROBE_CANCELLED,  /* to be freed */
};

/* A connection that a server has accepted, and may still say something on. */
struct parted {
	int fd;
	uint64_t until_ms;
};

/* More at a time are closed early, the oldest first. A power of two. */
#define PARTED_MAX 256

struct prober {
	sd_event *event;
	struct curl_loop *loop;
	sd_event_source *work; /* deferred, enabled when some probe is due */
	struct probe *probes;
	struct ca_files *ca_files;
	void (*go_on)(struct probe *p);   /* the connection stands */
	sd_event_time_handler_t on_timer; /* of a probe's .timer */
	uint64_t told_ms; /* when it was last told that some could not be asked; 0: never */
	struct parted parted[PARTED_MAX]; /* a ring, in the order of their times */
	unsigned first_parted, n_parted;
	struct timer part; /* for the first of them */
};

struct probe {
	struct prober *prober;
	struct probe *next, *previous;
	enum probe_state state;
	bool calling; /* in one of its callbacks: must not be freed by them */

	struct probe_callbacks callbacks;
	void *userdata;
	struct health_config health; /* without its texts */
	bool url;                    /* of probe_url(): no source is bound, no .target */
	struct address target;
	char method[PROBE_METHOD_MAX + 1];
	char base[PROBE_HEADER_MAX]; /* "http://example.org:80": what a redirect must stay in */
	char *path;                  /* that is asked for now */
	unsigned follows;            /* redirects followed so far, and repeats */
	char what[PROBE_PATH_SHOWN_MAX + PROBE_METHOD_MAX + 2]; /* "GET /healthz" */
	char whom[PROBE_PATH_SHOWN_MAX + PROBE_METHOD_MAX + 2 +
		  2]; /* "GET http://a/b: ", "127.0.0.1:80: "; "" */
	uint64_t started_ms;

	CURL *easy;
	struct curl_slist *headers, *connect_to;
	char *ca_path;        /* NULL: the host's authorities, or none */
	uint64_t ca_asked_ms; /* when it was first asked for; 0: not yet */
	uint64_t ca_since_ms; /* what was read before has not sufficed; 0: nothing has been tried */
	char curl_error[CURL_ERROR_SIZE];
	CURLcode code;
	char refused[PROBE_TEXT_MAX]; /* why curl was not asked, or what it lacked */
	bool unasked;                 /* .refused is the host's trouble, not the server's */
	bool queued;                  /* when its time was over connections waited for accept() */
	struct timer timer;           /* CONNECTING: its time is over; ASKING: ask again */

	int fd;     /* -1: none */
	bool curls; /* .fd is curl's to close */
	bool bound; /* on_close has to be called */
	bool connected;
	bool accepted;       /* ASKING: the server has; what it says first may be on its way */
	uint64_t asked;      /* so often */
	sd_event_source *io; /* CONNECTING */
	struct sockaddr_storage source;

	struct answer answer;
	char first[EXPLAIN_BYTES_MAX]; /* of an answer that is not what was asked for */
	size_t first_length;
	uint64_t received; /* bytes in all, of a connection that curl has closed */
	regex_t expected;  /* of the body */
	bool expects;      /* .expected has been compiled */
	bool grpc;
	char *body; /* PROBE_BODY_LOOKED_MAX bytes and a NUL, if it is looked at */
	size_t body_length;
};

/* ---- probe_base.c --------------------------------------------------------------------------- */

/* Have on_work() called, for a probe that has another state now. */
void probe_kick(struct prober *prober);

/* Does this host lack what asking needs? Such an error says nothing about the server. */
bool probe_is_own_trouble(int error);

/* It ends here, without an answer. @unasked: it is the host's trouble, not the server's. */
void probe_refuse(struct probe *p, bool unasked, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* ---- probe_connect.c ------------------------------------------------------------------------ */

/* Make the connection, pinned. The probe is connecting, refused or cancelled afterwards. */
void probe_connect(struct probe *p);

/* Close it if curl has not, and tell the caller that the source is free again, once. */
void probe_disconnect(struct probe *p);

/* Close what servers may still speak on. */
void prober_part_all(struct prober *prober);
void probe_release_source(struct probe *p);

curl_socket_t probe_on_curl_open(void *userdata, curlsocktype purpose,
				 struct curl_sockaddr *address);
int probe_on_curl_opened(void *userdata, curl_socket_t fd, curlsocktype purpose);
int probe_on_curl_close(void *userdata, curl_socket_t fd);

/* ---- probe_end.c ---------------------------------------------------------------------------- */

/* curl is about to close its connection @fd: how much came in all, and how does it go on? */
void probe_look_at_end(struct probe *p, int fd);

/* ---- probe_request.c ------------------------------------------------------------------------ */

int probe_check_question(const struct health_config *health, struct error *err);

/* The question of @health to .target, or to @url. */
int probe_set_question(struct probe *p, const struct health_config *health);
int probe_set_url(struct probe *p, const char *url);

/*
 * Let curl know the authorities. False: their file is being read, or the probe is refused.
 */
bool probe_set_authorities(struct probe *p);

/* What the answer redirects to, if it is to be followed and is of the same endpoint; -ENOENT. */
int probe_set_redirect(struct probe *p);

/* Did curl lose the answer, and is the same to be asked once more? */
bool probe_set_repeat(struct probe *p);

/* ---- probe_describe.c ----------------------------------------------------------------------- */

/* curl is done with it, or it was refused. */
void probe_describe(struct probe *p, struct probe_result *result);

/* A connect check: what on_connected has said, @r. */
void probe_describe_accepted(struct probe *p, int r, struct probe_result *result);
