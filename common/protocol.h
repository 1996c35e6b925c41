/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * protocol: what batond and baton-agent say to each other, as C structs and as JSON. Pure.
 *
 * The channel. An agent gets its launch specification when it starts: JSON in a sealed memfd. From
 * then on batond sends it orders, and it sends batond reports, over an AF_UNIX SOCK_SEQPACKET
 * socket (message.h). Each message is one JSON object of at most PROTOCOL_MESSAGE_MAX bytes; a
 * receiver's buffer has one byte more.
 *
 * Connecting. The agent owns the socket, which listens, so a batond that is started later can
 * connect, too. The agent greets each connection with a "hello" report that says everything it
 * knows. Attached (SCM_RIGHTS) are a duplicate of each listening socket, in the order of hello's
 * sockets, and last the memfd with the launch specification. The agent serves one connection; a
 * newer one replaces the older.
 *
 * Sockets. If the server binds its sockets itself, they can change at any time. The agent then
 * sends the whole new set in a "sockets" report, with a duplicate of each. batond takes all other
 * sockets of the instance out of every table and then sends ORDER_RELEASE. Only then does the agent
 * shut them down: what is queued in them migrates to sockets that a table names.
 *
 * A message carries no more than PROTOCOL_SOCKETS_MAX sockets. What a set has besides follows in
 * further "sockets" reports, one right after the other: "first" counts the sockets of the set that
 * were named already, "more" those that follow. Such a set is whole with the report that has no
 * "more"; until then none of the sockets that batond knows is missing in it.
 *
 * Encoding fails only for lack of memory (-ENOMEM) or because the result is too long (-EMSGSIZE).
 *
 * Decoding checks everything. An unknown type, a missing field, a wrong type or a value out of
 * range is -EBADMSG, and @err names the field. The struct is then useless, and nothing in it must
 * be freed.
 *
 * Versions. Agents outlive daemons, so agent and daemon may be of two versions of baton. A hello
 * says which versions of the protocol its agent speaks: "version" to "newest". The daemon takes the
 * newest that both speak (versions.h), and answers with it (ORDER_VERSION). Until then, and if no
 * answer comes, the agent speaks "version". Agents of version 1 say no "newest" and get no answer;
 * daemons of version 1 look at "version" alone, and answer nothing. A daemon that has no version in
 * common with an agent sends nothing and hangs up: agent and server go on. Each version of baton
 * also speaks the protocol of the version before; tests/recorded has sessions of that one.
 *
 * A new field needs no new version: an unknown field is ignored, and fields that the first version
 * did not have may be missing. The mode is then SOCKETS_INHERIT, a socket's endpoint its place in
 * the list, the process settings are those of process_settings_init(), and everything else is 0. A
 * new version is for what an end of the version before would misunderstand.
 *
 * Text. The strings of a launch specification may be any bytes and arrive unchanged. In text for
 * people (text and tail of a report) each byte that is not UTF-8 becomes "?". A report fits a
 * message whatever its tail says: PROTOCOL_TAIL_MAX control characters grow sixfold in JSON.
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

#define PROTOCOL_OLDEST        1 /* that is spoken here: that of the version before */
#define PROTOCOL_VERSION       2 /* the newest that is spoken here */
#define PROTOCOL_MESSAGE_MAX   (64 * 1024)
#define PROTOCOL_SPEC_MAX      (1024 * 1024)
#define PROTOCOL_LISTEN_MAX    16                         /* endpoints of a service */
#define PROTOCOL_SET_MAX       1024                       /* listening sockets of one instance */
#define PROTOCOL_SOCKETS_MAX   64                         /* of them in one report */
#define PROTOCOL_FDS_MAX       (PROTOCOL_SOCKETS_MAX + 1) /* of a hello: the specification too */
#define PROTOCOL_KEPT_MAX      64                         /* of batond's, that an agent keeps */
#define PROTOCOL_STRANGERS_MAX 8                          /* undeclared addresses in a report */
#define PROTOCOL_GROUPS_MAX    64
#define PROTOCOL_TAIL_MAX      4096 /* bytes of stderr carried by one report */
#define PROTOCOL_TEXT_MAX      256
#define PROTOCOL_TROUBLE_MAX   512
#define PROTOCOL_REOPEN_MAX    1024 /* bytes of why a file could not be opened, with its path */
#define PROTOCOL_NAME_MAX      64   /* a service's name, with its NUL */

/* ---- launch specification ------------------------------------------------------------------- */

/* How an instance comes by its listening sockets. In JSON: "auto", "inherit" ... */
enum socket_mode {
	/*
	 * Sockets are passed, and the agent watches the server. If the server binds a declared
	 * address itself, its own socket counts and the passed one does not; but all count if the
	 * command or the environment names the passed ones by {fd} or {fds:SEP}.
	 */
	SOCKETS_AUTO,
	SOCKETS_INHERIT, /* sockets are passed, and no others are looked for */
	SOCKETS_NATIVE,  /* the server binds them and sets SO_REUSEPORT itself; none is passed */
	SOCKETS_TRANSPARENT, /* the same, but a BPF program of batond's sets SO_REUSEPORT */
	_SOCKETS_COUNT,
};

struct launch_spec {
	char *service;       /* as people call it */
	char *id;            /* as REPORT_HELLO calls it: see service_config.h; NULL: the same */
	uint32_t generation; /* from 1 */
	uint32_t instance;   /* from 0 */

	/*
	 * The service's endpoints, at most PROTOCOL_LISTEN_MAX. In SOCKETS_AUTO and SOCKETS_INHERIT
	 * one socket for each is passed, in this order. The agent creates them, or batond has
	 * created them and given their descriptors to the agent (sockets_given).
	 */
	struct address *listen;
	size_t n_listen;
	/*
	 * The sockets that are passed are of the other family than declared: address_twin(). The
	 * server may bind either; only those of the family of its group get connections.
	 */
	bool twins[PROTOCOL_LISTEN_MAX];
	enum socket_mode mode;
	bool sockets_given;
	/*
	 * Bind the sockets only, and leave listen(2) to the server. For servers that do not call
	 * it, the agent does, at READY=1 or listen_delay_ms after the start. The tier "hash" needs
	 * this: there a socket gets connections as soon as it listens.
	 */
	bool listen_later;
	uint32_t listen_delay_ms;
	int backlog;
	bool nonblocking; /* O_NONBLOCK on the sockets that are passed */

	/*
	 * argv and environment still contain their placeholders (common/expand.h), because only the
	 * agent knows the descriptors' numbers. executable is argv[0] resolved.
	 */
	char *executable;
	char **argv;        /* NULL-terminated */
	char **environment; /* "NAME=value", NULL-terminated; nothing else is inherited */
	char *directory;

	uid_t uid;
	gid_t gid;
	gid_t groups[PROTOCOL_GROUPS_MAX];
	size_t n_groups;
	bool set_ids; /* false: leave all ids as the agent has them */

	struct process_settings process;

	char *cgroup; /* absolute path of the instance's leaf, which batond made; NULL: none */

	/*
	 * A server that exits in steady state is started again, at most restart_max times within
	 * restart_window_ms. The delay before a start grows from restart_delay_ms by doubling, up
	 * to restart_delay_max_ms.
	 */
	uint32_t restart_max;
	uint32_t restart_window_ms;
	uint32_t restart_delay_ms;
	uint32_t restart_delay_max_ms;
};

/* What the hello of its agent calls the service. */
const char *launch_spec_id(const struct launch_spec *spec);

/* The address of the sockets that are passed for endpoint @k. */
void launch_spec_address(const struct launch_spec *spec, size_t k, struct address *ret);

/* Free the contents, not the struct itself, which is all zero afterwards. */
void launch_spec_done(struct launch_spec *spec);

/*
 * *ret_text is malloc'ed, NUL-terminated JSON. -EMSGSIZE if it exceeds PROTOCOL_SPEC_MAX, or if
 * there are too many endpoints or groups. Decoding also checks that service is a name (paths.h),
 * that executable, directory and cgroup are absolute paths, that argv is not empty, and that the
 * environment consists of assignments. The caller ends *ret with launch_spec_done().
 */
int launch_spec_encode(const struct launch_spec *spec, char **ret_text, size_t *ret_length);
int launch_spec_decode(const char *text, size_t length, struct launch_spec *ret, struct error *err);

/* ---- orders: batond to agent ---------------------------------------------------------------- */

enum order_type {
	/*
	 * From now on the server is started again on the same sockets when it exits; with on=false,
	 * no longer. Off when the agent starts: batond turns it on for servers of the current
	 * generation.
	 */
	ORDER_STEADY,
	/*
	 * Leave the group: close the agent's duplicates, then send `signal`. A listening socket
	 * that is still open `timeout_ms` later is fetched and shut down. The agent answers with
	 * REPORT_LEFT. If the server has ended already, it closes and reports at once.
	 */
	ORDER_LEAVE,
	/*
	 * End: send `signal` (0: none), and after `timeout_ms` kill all of the instance's
	 * processes. The agent answers with REPORT_STOPPED, removes its socket and exits.
	 */
	ORDER_STOP,
	/*
	 * The tables name only sockets of the report with this serial (a newer report may be on its
	 * way): shut down those that had left the set by then. What is queued in them migrates.
	 */
	ORDER_RELEASE,
	/*
	 * The files with the server's output have been rotated: open them anew. The agent answers
	 * with REPORT_REOPENED, which has the order's serial; none if that is 0. Older agents never
	 * answer: their hello has no "reopens".
	 */
	ORDER_REOPEN,
	/*
	 * Say what the server wrote last. The agent answers with REPORT_TOLD. An exit that came
	 * before the order is reported before the answer. Only for agents whose hello has "tells".
	 */
	ORDER_TELL,
	/*
	 * The sockets of `endpoint` are of the family that is declared, or with on=true of its
	 * twin's (address.h). Shut down those of the other that were passed, or that count no
	 * longer: they would take connections away from the right ones. Pass no more of them. The
	 * agent answers with REPORT_SOCKETS, whether the set has changed or not.
	 */
	ORDER_FAMILY,
	/*
	 * Keep the descriptors that come with this order, at most PROTOCOL_LISTEN_MAX, until the
	 * next one of the kind; those of the one before are closed. They are listening sockets of
	 * batond's, which must outlive it (steer_beacon(), steer_anchor()). Only for agents whose
	 * hello has "keeps". Other orders carry no descriptors.
	 */
	ORDER_KEEP,
	/*
	 * The answer to a hello that has "newest": from now on this version of the protocol is
	 * spoken on this connection.
	 */
	ORDER_VERSION,
	/*
	 * Look for listening sockets now. As long as this connection lasts, the order comes for
	 * each listen(2) on a declared port in the instance's cgroup: batond hears of them from the
	 * kernel (TAP_LISTEN), so the agent need not look for them by itself. Only for agents whose
	 * hello has "looks".
	 *
	 * "late": nobody tells batond. It looks for all of its agents at once, about each second,
	 * and the order comes when the sockets on the declared ports are others than before. While
	 * sockets are missing the agent looks by itself, too.
	 */
	ORDER_LOOK,
	_ORDER_TYPE_COUNT,
};

struct order {
	enum order_type type;
	bool on;             /* ORDER_STEADY, ORDER_FAMILY */
	int signal;          /* ORDER_LEAVE, ORDER_STOP; 0: none */
	uint32_t timeout_ms; /* ORDER_LEAVE, ORDER_STOP */
	/* RELEASE: of which report; 0: the last one sent. REOPEN: the daemon's; 0: tell nobody */
	uint32_t serial;
	uint32_t endpoint; /* ORDER_FAMILY: index into the specification's listen */
	uint32_t version;  /* ORDER_VERSION */
	bool late;         /* ORDER_LOOK */
};

/* ---- reports: agent to batond --------------------------------------------------------------- */

enum report_type {
	REPORT_HELLO,    /* first on every connection, with the sockets */
	REPORT_STARTED,  /* the server was started (exec succeeded), or has replaced itself: pid */
	REPORT_NOTIFY,   /* sd_notify(3): ready, reloading, stopping, or status text */
	REPORT_EXITED,   /* the server ended: code or signal, tail; restart_ms if started again */
	REPORT_FAILED,   /* it could not be started, or its restarts are used up: text, tail */
	REPORT_LEFT,     /* it is out of the group; forced: a socket had to be shut down */
	REPORT_STOPPED,  /* all processes have ended: code or signal, killed, tail */
	REPORT_SOCKETS,  /* the listening sockets or the strangers have changed: all of them */
	REPORT_TOLD,     /* the answer to ORDER_TELL: tail */
	REPORT_REOPENED, /* the answer to ORDER_REOPEN: serial, files, stdout_ and stderr_failure */
	REPORT_ORPHAN,   /* a process that is none of the instance's has kept a socket: text, pid */
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
	AGENT_STOPPED,  /* all processes have ended; the agent is about to exit */
	_AGENT_STATE_COUNT,
};

/* How the server's last run ended. In JSON: "told", "unknown", "never-ran", "alive". */
enum server_ending {
	ENDING_TOLD,      /* with exit_code or exit_signal; older agents say nothing else */
	ENDING_UNKNOWN,   /* it was no child of the agent's, so nobody told how */
	ENDING_NEVER_RAN, /* it could not be started, or nobody tried */
	ENDING_ALIVE,     /* it has not ended, not even by SIGKILL */
	_ENDING_COUNT,
};

/* A socket on a declared address that somebody will accept from. */
struct report_socket {
	uint64_t cookie; /* SO_COOKIE */
	uint64_t inode;
	uint32_t endpoint;              /* index into the specification's listen */
	bool own;                       /* the server has bound it: it was not passed */
	bool deaf;                      /* it was shut down, and does not listen now */
	char address[ADDRESS_TEXT_MAX]; /* as struct address has it */
};

struct report {
	enum report_type type;

	/* REPORT_HELLO */
	uint32_t version; /* the oldest that the agent speaks */
	uint32_t newest;  /* that it speaks; 0: it does not say, and speaks .version alone */
	char service[PROTOCOL_NAME_MAX];
	uint32_t generation;
	uint32_t instance;
	pid_t agent_pid;
	enum agent_state state;
	bool steady;
	bool tells;    /* it knows ORDER_TELL; false: it is an older agent */
	bool reopens;  /* it answers ORDER_REOPEN; false: it is an older agent */
	bool keeps;    /* it knows ORDER_KEEP; false: it is an older agent */
	bool looks;    /* it knows ORDER_LOOK; false: it is an older agent */
	bool hinted;   /* it has got one: the programs on its cgroup tell of each listen(2) */
	uint32_t kept; /* so many descriptors of batond's it keeps */
	/* The server has not been started again since it was steady; false: an older agent */
	bool initial;

	/*
	 * REPORT_HELLO, REPORT_SOCKETS: of the set; it grows with each change; 0: an older agent
	 * does not say. REPORT_REOPENED: of the order.
	 */
	uint32_t serial;

	/* REPORT_HELLO, REPORT_SOCKETS */
	struct report_socket sockets[PROTOCOL_SOCKETS_MAX];
	size_t n_sockets;
	uint32_t first, more; /* sockets of the set in earlier and in later reports */
	/* Undeclared addresses that the instance listens on: baton leaves them alone. */
	char strangers[PROTOCOL_STRANGERS_MAX][ADDRESS_TEXT_MAX];
	size_t n_strangers;
	/* HELLO, SOCKETS: why a listening socket of the server cannot be used; "": all can be */
	char trouble[PROTOCOL_TROUBLE_MAX];
	uint32_t trouble_endpoint; /* index into the specification's listen; older agents: 0 */

	pid_t pid; /* HELLO (0: none), STARTED; ORPHAN (0: not found) */
	/* STARTED: the process that was the server before, and has replaced itself; 0: none */
	pid_t succeeds;
	bool ready; /* HELLO, NOTIFY: READY=1 has been seen */

	/*
	 * EXITED, STOPPED: exactly one of the two is not 0, or both are 0 for exit status 0.
	 * STARTED: the same of the process that it succeeds (ENDING_ALIVE: it has not ended). They
	 * count only if the ending is ENDING_TOLD; for the others they are as near as older daemons
	 * can come to it.
	 */
	int exit_code;
	int exit_signal;
	enum server_ending ending;
	/* EXITED, STOPPED: the user id with which it made its sockets, if that is known. */
	bool has_uid;
	uid_t uid;
	/* EXITED: its address was in use, by nothing but connections of an earlier server */
	bool lingers;
	/* EXITED: its main process was a wrapper, which LISTEN_PID named; "": it was none */
	char wrapper[16];
	bool restarting; /* EXITED: the server will be started again after restart_ms */
	uint32_t restart_ms;
	bool killed; /* STOPPED: SIGKILL was needed */
	bool forced; /* LEFT: a listening socket had to be shut down */

	char text[PROTOCOL_TEXT_MAX]; /* NOTIFY: STATUS=; FAILED: why; EXITED: why, if known;
					 ORPHAN: all of it */
	/* HELLO, EXITED, FAILED, STOPPED, TOLD: the end of stderr; if that is empty, of stdout */
	char tail[PROTOCOL_TAIL_MAX];
	bool tail_stdout;     /* the tail is from stdout */
	uint32_t tail_age_ms; /* since the end of the tail was written; 0: an older agent */

	/* REPORT_REOPENED */
	uint32_t files; /* so many were to be opened anew */
	/* "stdout: PATH: Permission denied": the old one stays in use; "": it was opened anew. */
	char stdout_failure[PROTOCOL_REOPEN_MAX], stderr_failure[PROTOCOL_REOPEN_MAX];
};

/* "leave", "hello", "running", "auto"; "unknown" for a number that has no name. */
const char *order_type_name(enum order_type type);
const char *report_type_name(enum report_type type);
const char *agent_state_name(enum agent_state state);
const char *socket_mode_name(enum socket_mode mode);

/* *ret_text is malloc'ed, NUL-terminated JSON of at most PROTOCOL_MESSAGE_MAX bytes. */
int order_encode(const struct order *order, char **ret_text, size_t *ret_length);
int order_decode(const char *text, size_t length, struct order *ret, struct error *err);
int report_encode(const struct report *report, char **ret_text, size_t *ret_length);
int report_decode(const char *text, size_t length, struct report *ret, struct error *err);
