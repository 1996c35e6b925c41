/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * libbaton: for servers that take part in their own replacement.
 *
 * baton replaces the process behind a port without losing a connection. It can do so with servers
 * that know nothing of it. A server that uses this library is ready when it says so, leaves when it
 * is told, and needs no configuration for either. The library needs only the C library. It uses the
 * conventions of systemd (LISTEN_FDS, NOTIFY_SOCKET) and a signal, so the same server runs under
 * baton, under systemd, and by itself:
 *
 *			   under baton		under systemd		by itself
 *	listening sockets  baton's		the socket unit's	its own, like listen(2)
 *	baton_ready() ...  heard by baton	heard by systemd	nothing happens
 *	time to leave	   drain signal		SIGTERM (stop)		SIGTERM
 *
 * A whole server:
 *
 *	#include <baton.h>
 *	#include <poll.h>
 *	#include <stdio.h>
 *	#include <sys/socket.h>
 *	#include <unistd.h>
 *
 *	int main(void)
 *	{
 *		static const char *const addresses[] = {"127.0.0.1:8080", NULL};
 *		struct baton_options options = BATON_OPTIONS_INIT;
 *		struct baton *baton;
 *		char why[256];
 *		int client;
 *
 *		options.listen = addresses;
 *		options.error = why;
 *		options.error_size = sizeof(why);
 *		if (baton_open(&options, &baton) < 0) {
 *			fprintf(stderr, "%s\n", why);
 *			return 1;
 *		}
 *		struct pollfd fds[] = {{.fd = baton_socket(baton, 0), .events = POLLIN},
 *				       {.fd = baton_leave_fd(baton), .events = POLLIN}};
 *		baton_ready(baton);
 *		while (!fds[1].revents) {
 *			poll(fds, 2, -1);
 *			while ((client = accept(fds[0].fd, NULL, NULL)) >= 0) {
 *				dprintf(client, "hello\n");
 *				close(client);
 *			}
 *		}
 *		baton_stop_listening(baton);
 *		baton_done(baton);
 *		baton_close(baton);
 *		return 0;
 *	}
 *
 * The order of calls. baton_open(), get everything ready, baton_ready(). When the descriptor of
 * baton_leave_fd() becomes readable, new connections are already steered elsewhere. Then accept
 * until accept(2) says EAGAIN, call baton_stop_listening(), finish the connections that are there,
 * call baton_done() and exit. baton_left() tells how many are left meanwhile. When the drain
 * deadline of the service is over, baton ends the process: a server needs no deadline of its own.
 *
 * Errors. Functions that return int return 0 or more, or a negative errno; they print nothing. If
 * nobody listens to what a function tells, that is no error.
 *
 * Ownership. All descriptors that are returned belong to the handle: watch them, accept from them,
 * do not close them. They are close-on-exec.
 *
 * Threads. baton_open(), baton_stop_listening() and baton_close() must not run at the same time as
 * any other call on the handle; all else may be called by any thread at any time. A thread that is
 * in accept(2) on a blocking socket is not woken by baton_stop_listening(): poll(2) the socket
 * together with baton_leave_fd() instead. baton_open() reads the environment, so nobody may change
 * it meanwhile.
 *
 * Signals. baton_open() installs a handler with SA_RESTART and SA_ONSTACK. It writes to an
 * eventfd(2), nothing else. As with any handler, calls that are never restarted (poll, epoll_wait,
 * nanosleep; signal(7)) may return EINTR in the thread that the signal reaches. The signal must not
 * be blocked in every thread. (The library does not use signalfd(2). That would work only if every
 * thread blocked the signal, also those of other libraries, and children would inherit the blocked
 * signal across exec.)
 *
 * Which signal: that of the options, else the one in the environment variable BATON_DRAIN_SIGNAL (a
 * number, or one of TERM, INT, QUIT, HUP, USR1, USR2, WINCH, ALRM, IO, PWR, URG, with SIG in front
 * or not), else SIGTERM. It must be the "signal" in the "drain" section of the service. Before
 * baton_open() and after baton_close() it does what it did before: as a rule it ends the process.
 *
 * Fork and exec. A handle belongs to the process that opened it. In a child made by fork(2) the
 * signal does what it did before baton_open(), and each function refuses with -ECHILD. The
 * exception is baton_close(), which frees the child's copies and leaves the parent alone. Workers
 * that accept take the descriptors from baton_socket() before the fork. They learn from the parent
 * when to leave, and must close the descriptors then: a listening socket takes part in the port as
 * long as any process has it open. Programs that a child executes get no descriptor, and LISTEN_PID
 * does not name them. A server that executes itself without a fork keeps its pid but not the
 * sockets: it must unset LISTEN_PID before, or baton_open() fails.
 */
#pragma once

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

#define BATON_PUBLIC __attribute__((visibility("default")))

struct baton;

/* The most listening sockets. */
#define BATON_SOCKETS_MAX 256

/* Flags: */
#define BATON_BLOCKING 1u /* leave O_NONBLOCK alone: as passed, or blocking */
#define BATON_SHARE    2u /* SO_REUSEPORT also when not under baton, see baton_open() */

/* For .signal: install no handler; your own handler calls baton_ask(). */
#define BATON_SIGNAL_NONE (-1)

/*
 * Begin with BATON_OPTIONS_INIT, which has the default of everything, and set what you want. The
 * size lets a program and a library of different ages meet. In a newer library, options that the
 * program does not know keep their defaults. An older library refuses options that it does not know
 * (-E2BIG).
 */
struct baton_options {
	size_t size; /* sizeof(struct baton_options) */
	/*
	 * Where to listen if no sockets are passed, as a list that ends with NULL:
	 * "127.0.0.1:8080", "[::1]:8080", "[::]:8080" (IPv6 only), ":8080" (both families, one
	 * socket), "[::ffff:127.0.0.1]:8080" (IPv4, on an IPv6 socket). No host names. NULL instead
	 * of a list: do not listen, only take sockets that are passed.
	 */
	const char *const *listen;
	/*
	 * A buffer for the reason, in English, why baton_open() failed; NULL: none. It may be cut.
	 */
	char *error;
	size_t error_size;
	int backlog;       /* of own sockets; 0: 4096 (at most the sysctl net.core.somaxconn) */
	int signal;        /* it asks to leave; 0: see above; BATON_SIGNAL_NONE */
	unsigned flags;    /* BATON_BLOCKING, BATON_SHARE */
	unsigned reserved; /* 0 */
};

#define BATON_OPTIONS_INIT                                                                         \
	{                                                                                          \
		sizeof(struct baton_options), NULL, NULL, 0, 0, 0, 0u, 0u                          \
	}

/*
 * Listen, and install the handler. @options may be NULL: all defaults.
 *
 * Sockets that are passed win. If LISTEN_PID is this process and LISTEN_FDS is at least 1, exactly
 * those sockets are taken, once in the life of the process, and options->listen is not looked at.
 * baton passes one for each address of the service's "listen", in that order. A shell between baton
 * and the server must exec it, since LISTEN_PID names the shell.
 *
 * Otherwise options->listen is bound, with SO_REUSEADDR. SO_REUSEPORT is set, too, if baton has
 * started the process (NOTIFY_SOCKET is one of baton's) or BATON_SHARE is set: several processes of
 * one user can then listen at once. Without it a second one fails with -EADDRINUSE, as with
 * listen(2): nobody joins a port by accident.
 *
 * Returns 0, and in @ret_baton the handle, which baton_close() frees; or
 *
 *	-EINVAL	    an option, an address, LISTEN_PID, LISTEN_FDS or BATON_DRAIN_SIGNAL makes no
 *		    sense; or a descriptor that was passed is not a listening stream socket
 *	-E2BIG	    options of a newer library are used, or more than BATON_SOCKETS_MAX sockets
 *	-EBUSY	    this process has an open handle: there can be one at a time
 *	-EADDRINUSE and others of socket(2), bind(2), listen(2); -ENOMEM
 *
 * After an error everything is as before, but for the flags of descriptors that were passed. These
 * stay open, and another call can take them.
 */
BATON_PUBLIC int baton_open(const struct baton_options *options, struct baton **ret_baton);

/*
 * Close all sockets and descriptors and free the handle. Put the signal back to what it did before
 * baton_open(), unless somebody else has installed a handler since. A signal that comes while this
 * runs may be lost. NULL is allowed.
 */
BATON_PUBLIC void baton_close(struct baton *baton);

/* ---- listening ------------------------------------------------------------------------------ */

/* The number of listening sockets: 0 if there were no addresses, and after stop_listening. */
BATON_PUBLIC int baton_socket_count(const struct baton *baton);

/*
 * The listening socket @index, counted from 0. accept4(2) from it; it is non-blocking unless
 * BATON_BLOCKING says otherwise. -ERANGE if there is none.
 */
BATON_PUBLIC int baton_socket(const struct baton *baton, int index);

/*
 * The name of the socket @index. For a passed one that in LISTEN_FDNAMES (baton's are
 * "SERVICE.PORT"), or "unknown"; for an own one its address ("127.0.0.1:8080"). Valid until
 * stop_listening. NULL if there is no such socket.
 */
BATON_PUBLIC const char *baton_socket_name(const struct baton *baton, int index);

/* 1: the sockets were passed; 0: they are the process's own, or there are none. */
BATON_PUBLIC int baton_inherited(const struct baton *baton);

/*
 * Close the listening sockets and tell that (STOPPING=1). Accept until EAGAIN before: if the kernel
 * does not hand the queue over to the new instance, connections that are left in it are reset.
 * epoll forgets closed sockets by itself, poll does not. Returns as baton_ready(); the sockets are
 * closed in any case. A second call does nothing.
 */
BATON_PUBLIC int baton_stop_listening(struct baton *baton);

/* ---- telling -------------------------------------------------------------------------------- */

/*
 * Ready to serve (READY=1). A service with "health": {"notify": true} gets connections from then
 * on; with another check it is harmless.
 *
 * Waits up to 2 seconds if the receiver is behind. Returns 0, also if there is no receiver; or
 * -EAGAIN (it is still behind), -ECONNREFUSED or -ENOENT (it has gone), -EAFNOSUPPORT
 * (NOTIFY_SOCKET is neither a path nor an abstract socket).
 */
BATON_PUBLIC int baton_ready(struct baton *baton);

/*
 * Tell people in one line how it goes (STATUS=). @text is UTF-8; it is cut after 255 bytes, and
 * control characters become blanks. Never waits: -EAGAIN if the receiver is behind. Other errors as
 * baton_ready().
 */
BATON_PUBLIC int baton_status(struct baton *baton, const char *text);

/*
 * Tell how many connections are left, as baton_status() with a text of its own. Call it at each
 * change: at most ten a second are sent, but 0 always.
 */
BATON_PUBLIC int baton_left(struct baton *baton, unsigned long connections);

/*
 * Tell that everything is finished and the process is about to exit (STOPPING=1 and a status).
 * Returns as baton_ready(). baton waits for the exit itself.
 */
BATON_PUBLIC int baton_done(struct baton *baton);

/* ---- leaving -------------------------------------------------------------------------------- */

/*
 * A descriptor that becomes readable when it is time to leave, and stays so: any number of threads
 * and loops may watch it. Never read from it. A loop that has seen it must stop watching it (or
 * watch it edge-triggered), or it would be woken for ever.
 */
BATON_PUBLIC int baton_leave_fd(const struct baton *baton);

/*
 * How often this process has been asked to leave; 0: not at all. baton asks once. A second request
 * is a person's who has lost his patience: many servers then cut the connections that are left.
 */
BATON_PUBLIC int baton_asked(const struct baton *baton);

/*
 * Ask this process to leave, as the signal does. For handlers of other signals (it is
 * async-signal-safe), or if an operator says so. The listening sockets stay open until
 * baton_stop_listening().
 */
BATON_PUBLIC int baton_ask(struct baton *baton);

#ifdef __cplusplus
}
#endif
