/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * protocol: what batond and baton-agent say to each other.
 *
 * An agent gets one launch specification when it starts (JSON in a sealed memfd) and from then on
 * talks over an AF_UNIX SOCK_SEQPACKET socket, one JSON object a message, at most
 * PROTOCOL_MESSAGE_MAX bytes. batond sends orders, the agent sends reports. The socket is
 * listening and belongs to the agent, so that a batond started later can connect to it: each new
 * connection is greeted with a "hello" report that says everything the agent knows, with one
 * duplicate of each listening socket attached (SCM_RIGHTS, in the order of hello's sockets), and
 * last the memfd with its launch specification. At most one connection is served; a newer one
 * replaces the older.
 *
 * Which sockets an instance has can change at any time where the server binds them itself: a
 * "sockets" report then carries the whole new set, with a duplicate of each. Sockets that are no
 * longer in it must go out of every table; when that is done, batond says so by ORDER_RELEASE, and
 * only then does the agent let go of them: what is queued there migrates to somebody who is named.
 *
 * Encoding never fails but for memory or size (-ENOMEM, -EMSGSIZE). Decoding checks everything:
 * unknown types, missing fields, wrong types and values out of range are -EBADMSG with the field
 * named in @err; unknown fields are ignored, so that a newer batond can talk to an older agent.
 * For the same reason what the first version of the protocol did not have may be missing: the mode
 * is SOCKETS_INHERIT then, a socket's endpoint its place in the list, process as
 * process_settings_init() has it, and all else 0.
 * What was decoded is then of no use, and nothing of it has to be freed. A receiver's buffer has
 * PROTOCOL_MESSAGE_MAX + 1 bytes.
 *
 * Strings are whatever bytes a process may be given: those of a launch specification arrive as
 * they were sent, UTF-8 or not. In text for people (text and tail of a report) each byte that is
 * not UTF-8 becomes "?". A report fits a message whatever its tail says: PROTOCOL_TAIL_MAX bytes
 * of control characters grow sixfold in JSON.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/address.h"
#include "common/cleanup.h"
#include "common/error.h"
#include "common/message.h" /* how the messages travel */
#include "common/process_settings.h"

#define PROTOCOL_VERSION       1
#define PROTOCOL_MESSAGE_MAX   (64 * 1024)
#define PROTOCOL_SPEC_MAX      (1024 * 1024)
#define PROTOCOL_LISTEN_MAX    16                         /* endpoints of a service */
#define PROTOCOL_SOCKETS_MAX   64                         /* listening sockets of one instance */
#define PROTOCOL_FDS_MAX       (PROTOCOL_SOCKETS_MAX + 1) /* of a hello: the specification too */
#define PROTOCOL_STRANGERS_MAX 8                          /* undeclared addresses that are named */
#define PROTOCOL_GROUPS_MAX    64
#define PROTOCOL_TAIL_MAX      4096 /* bytes of stderr carried by one report */
#define PROTOCOL_TEXT_MAX      256
#define PROTOCOL_NAME_MAX      64 /* a service's name, with its NUL */

/* ---- launch specification ------------------------------------------------------------------- */

/* How an instance comes by its listening sockets. In JSON: "auto", "inherit" ... */
enum socket_mode {
	/*
	 * Sockets are passed, and the server is watched: where it binds a declared address itself,
	 * its own sockets count, and the passed one of that address does not (unless the command
	 * or the environment name it by {fd} or {fds:SEP}: then all of them do).
	 */
	SOCKETS_AUTO,
	SOCKETS_INHERIT, /* passed; nothing else is looked for */
	SOCKETS_NATIVE,  /* the server binds them, with SO_REUSEPORT of its own; none is passed */
	SOCKETS_TRANSPARENT, /* the same, and a BPF program of batond's sets SO_REUSEPORT */
	_SOCKETS_COUNT,
};

struct launch_spec {
	char *service;
	uint32_t generation; /* from 1 */
	uint32_t instance;   /* from 0 */

	/*
	 * The service's endpoints, at most PROTOCOL_LISTEN_MAX. In SOCKETS_AUTO and SOCKETS_INHERIT
	 * a socket is created for each, in the order in which they are passed, unless batond has
	 * created them itself (sockets_given): then they are descriptors that it gave the agent.
	 */
	struct address *listen;
	size_t n_listen;
	enum socket_mode mode;
	bool sockets_given;
	/*
	 * Bind only, and leave listen(2) to the server; for servers that do not call it, the agent
	 * does at READY=1, or listen_delay_ms after the start. For kernels where a socket gets
	 * connections as soon as it listens.
	 */
	bool listen_later;
	uint32_t listen_delay_ms;
	int backlog;
	bool nonblocking; /* O_NONBLOCK on the sockets that are passed */

	/*
	 * Placeholders ({fd}, {fds:SEP}, {generation}, {instance}) are still in argv and in the
	 * environment: only the agent knows the numbers. executable is argv[0] resolved.
	 */
	char *executable;
	char **argv;        /* NULL-terminated */
	char **environment; /* "NAME=value", NULL-terminated; the whole of it, nothing is inherited
			     */
	char *directory;

	uid_t uid;
	gid_t gid;
	gid_t groups[PROTOCOL_GROUPS_MAX];
	size_t n_groups;
	bool set_ids; /* false: run as whoever the agent is, and leave all ids alone */

	struct process_settings process;

	char *cgroup; /* absolute path of the instance's leaf, made by batond; NULL: none */

	/*
	 * How often the server is started again when it exits in steady state: at most
	 * restart_max times within restart_window_ms, the delay growing from restart_delay_ms by
	 * doubling up to restart_delay_max_ms.
	 */
	uint32_t restart_max;
	uint32_t restart_window_ms;
	uint32_t restart_delay_ms;
	uint32_t restart_delay_max_ms;
};

/* Free the contents, not the struct itself, which is all zero afterwards. */
void launch_spec_done(struct launch_spec *spec);

/*
 * @ret_text is malloc'ed, NUL-terminated JSON. -EMSGSIZE where it exceeds PROTOCOL_SPEC_MAX, or
 * the sockets or groups their number. Decoding also checks that service is a name (see paths.h),
 * executable, directory and cgroup are absolute paths, argv is not empty and the environment
 * consists of assignments.
 */
int launch_spec_encode(const struct launch_spec *spec, char **ret_text, size_t *ret_length);
int launch_spec_decode(const char *text, size_t length, struct launch_spec *ret, struct error *err);

/* ---- orders: batond to agent ---------------------------------------------------------------- */

enum order_type {
	/*
	 * The server is the current one (or, with on=false, no longer is): when it exits it is
	 * started again on the same sockets. Off when the agent starts.
	 */
	ORDER_STEADY,
	/*
	 * Leave the group: close the agent's duplicates, send `signal`, and where a listening
	 * socket is still open `timeout_ms` later, fetch it and shut it down. Ends with
	 * REPORT_LEFT. When the server is gone already: close and report.
	 */
	ORDER_LEAVE,
	/*
	 * End: send `signal` (0: none), after `timeout_ms` kill the whole cgroup. Ends with
	 * REPORT_STOPPED, after which the agent removes its socket and exits.
	 */
	ORDER_STOP,
	/*
	 * The sockets that the last report named (that with this serial: a newer one may be on its
	 * way) are the only ones in any table: let go of all others, by shutting them down, so
	 * that what is queued in them migrates.
	 */
	ORDER_RELEASE,
	/* Open the files that the server's output goes to anew: they have been rotated. */
	ORDER_REOPEN,
	_ORDER_TYPE_COUNT,
};

struct order {
	enum order_type type;
	bool on;             /* ORDER_STEADY */
	int signal;          /* ORDER_LEAVE, ORDER_STOP; 0: none */
	uint32_t timeout_ms; /* ORDER_LEAVE, ORDER_STOP */
	uint32_t serial;     /* ORDER_RELEASE: of the report that is meant; 0: the last one sent */
};

/* ---- reports: agent to batond --------------------------------------------------------------- */

enum report_type {
	REPORT_HELLO,   /* first on every connection; carries the sockets */
	REPORT_STARTED, /* the server was started (exec succeeded): pid */
	REPORT_NOTIFY,  /* sd_notify(3): ready, reloading, stopping, or status text */
	REPORT_EXITED,  /* the server ended: code or signal, tail; restart_ms if started again */
	REPORT_FAILED,  /* could not be started, or the restarts are used up: text, tail */
	REPORT_LEFT,    /* out of the group: forced says whether it had to be shut down */
	REPORT_STOPPED, /* all is gone: code or signal, killed, tail */
	REPORT_SOCKETS, /* another set of listening sockets, or strangers: the whole of it */
	_REPORT_TYPE_COUNT,
};

enum agent_state {
	AGENT_STARTING, /* being launched */
	AGENT_RUNNING,  /* the server runs */
	AGENT_DELAYING, /* it exited and is started again after a delay */
	AGENT_FAILED,   /* it exited (or never ran) and is not started again */
	AGENT_LEAVING,  /* leaving the group */
	AGENT_LEFT,     /* has left, the server still runs */
	AGENT_STOPPING, /* asked to end */
	AGENT_KILLING,  /* being killed */
	AGENT_STOPPED,  /* all gone; the agent is about to exit */
	_AGENT_STATE_COUNT,
};

/* A socket that listens on a declared address and that somebody will accept from. */
struct report_socket {
	uint64_t cookie; /* SO_COOKIE */
	uint64_t inode;
	uint32_t endpoint;              /* index into the specification's listen */
	bool own;                       /* the server has bound it, it was not passed */
	char address[ADDRESS_TEXT_MAX]; /* as struct address has it */
};

struct report {
	enum report_type type;

	/* REPORT_HELLO */
	uint32_t version;
	char service[PROTOCOL_NAME_MAX];
	uint32_t generation;
	uint32_t instance;
	pid_t agent_pid;
	enum agent_state state;
	bool steady;

	/* REPORT_HELLO, REPORT_SOCKETS */
	uint32_t serial; /* of the set, growing with each change; 0: an older agent's */
	struct report_socket sockets[PROTOCOL_SOCKETS_MAX];
	size_t n_sockets;
	/* Addresses that the instance listens on and the service does not declare: not touched. */
	char strangers[PROTOCOL_STRANGERS_MAX][ADDRESS_TEXT_MAX];
	size_t n_strangers;

	pid_t pid;  /* HELLO (0: none), STARTED */
	bool ready; /* HELLO, NOTIFY: READY=1 has been seen */

	/* EXITED, STOPPED: exactly one of the two is not 0, or both are 0 for exit status 0 */
	int exit_code;
	int exit_signal;
	bool restarting; /* EXITED: it will be started again after restart_ms */
	uint32_t restart_ms;
	bool killed; /* STOPPED: SIGKILL was needed */
	bool forced; /* LEFT: a listening socket had to be shut down */

	char text[PROTOCOL_TEXT_MAX]; /* NOTIFY: STATUS=; FAILED: why; EXITED: why, where known */
	char tail[PROTOCOL_TAIL_MAX]; /* HELLO, EXITED, FAILED, STOPPED: end of stderr */
};

/* "leave", "hello", "running" ...; "unknown" for a number that stands for nothing. */
const char *order_type_name(enum order_type type);
const char *report_type_name(enum report_type type);
const char *agent_state_name(enum agent_state state);
const char *socket_mode_name(enum socket_mode mode);

int order_encode(const struct order *order, char **ret_text, size_t *ret_length);
int order_decode(const char *text, size_t length, struct order *ret, struct error *err);
int report_encode(const struct report *report, char **ret_text, size_t *ret_length);
int report_decode(const char *text, size_t length, struct report *ret, struct error *err);
