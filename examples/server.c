/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * server: a small HTTP/1.1 server that can be replaced without losing a connection.
 *
 * It shows everything that a server needs for that, in plain C and without a library:
 *
 *	take_sockets()	use the listening sockets it is given (LISTEN_FDS, or --fd N)
 *	notify()	say READY=1 when it can serve
 *	begin_drain()	on SIGTERM: accept what is queued, close the listener, finish, exit 0
 *	drain()		close keep-alive connections in such a way that no request is lost
 *
 * It answers GET /, GET /healthz, GET /stats (JSON), and POST with the length of what was posted.
 * If no sockets are passed, it listens on --listen with SO_REUSEPORT, so that two of them can share
 * a port.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define REQUEST_MAX    8192
#define LISTENERS_MAX  16
#define FDS_MAX        65536
#define IDLE_GRACE_MS  100  /* draining: wait so long for the next request of a connection */
#define FRESH_GRACE_MS 2000 /* and so long for the first one, which no client would repeat */
#define LINGER_MS      1000 /* after our end of a connection wait so long for the client's */
#define DRAIN_TICK_MS  20

struct connection {
	int fd;
	bool served;      /* has had an answer */
	bool lingering;   /* we have sent our end and wait for the client's */
	bool close_after; /* the client said that this is its last request */
	bool in_body;
	uint64_t body_left, body_length, active_ms;
	char method[8], path[64];
	size_t length;
	char buffer[REQUEST_MAX];
};

enum {
	LISTEN,
	FD,
	GENERATION,
	INSTANCE,
	READY_AFTER,
	STATS_FILE, /* the others make it misbehave: */
	EXIT_AT_ONCE,
	NEVER_ACCEPT,
	HANG,
	UNHEALTHY,
	UNHEALTHY_WHILE,
	STARTUP_DELAY,
	IGNORE_TERM,
	IDLE_WHILE, /* it stands still at one step of its life, while a file is there: */
	LISTEN_WHILE,
	STAY_WHILE,
	OPTIONS
};
static const struct option options[] = {
	{"listen", 1, NULL, LISTEN},             /* ADDRESS:PORT */
	{"fd", 1, NULL, FD},                     /* of a listening socket */
	{"generation", 1, NULL, GENERATION},     /* or the environment's GENERATION */
	{"instance", 1, NULL, INSTANCE},         /* or the environment's INSTANCE */
	{"ready-after", 1, NULL, READY_AFTER},   /* /healthz says 503 until then */
	{"stats-file", 1, NULL, STATS_FILE},     /* written on SIGUSR1 and at exit */
	{"exit-at-once", 1, NULL, EXIT_AT_ONCE}, /* with this status */
	{"never-accept", 0, NULL, NEVER_ACCEPT},
	{"hang", 0, NULL, HANG},                       /* accept, but never answer */
	{"unhealthy", 0, NULL, UNHEALTHY},             /* /healthz says 503 */
	{"unhealthy-while", 1, NULL, UNHEALTHY_WHILE}, /* this file is there */
	{"startup-delay", 1, NULL, STARTUP_DELAY},
	{"ignore-term", 0, NULL, IGNORE_TERM},
	{"idle-while", 1, NULL, IDLE_WHILE},     /* accept nothing */
	{"listen-while", 1, NULL, LISTEN_WHILE}, /* told to drain, go on listening */
	{"stay-while", 1, NULL, STAY_WHILE},     /* drained, do not exit */
	{NULL, 0, NULL, 0},
};
static const char *option[OPTIONS]; /* NULL: not given */

static struct {
	uint64_t accepted, requests, probes, other, open;
} stats;
static struct connection *connections[FDS_MAX];
static int listeners[LISTENERS_MAX];
static size_t n_listeners;
static int epoll_fd, signal_fd;
static uint64_t start_ms, drain_ms; /* drain_ms 0: not draining */
static bool told;                   /* to drain */

static void die(const char *what)
{
	fprintf(stderr, "server: %s: %s\n", what, strerror(errno));
	exit(1);
}

static uint64_t clock_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* The option, "1.5s" or "200ms", in milliseconds; 0 if it was not given. */
static uint64_t option_ms(int which)
{
	char *unit = NULL;
	double value = option[which] ? strtod(option[which], &unit) : 0;

	return (uint64_t)(unit && strcmp(unit, "s") == 0 ? value * 1000 : value);
}

/* ---- taking part ---------------------------------------------------------------------------- */

/* sd_notify(3) is one datagram to the socket that NOTIFY_SOCKET names ("@": an abstract one). */
static void notify(const char *message)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	const char *path = getenv("NOTIFY_SOCKET");
	size_t length = path ? strlen(path) : 0;
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (length && length < sizeof(address.sun_path)) {
		memcpy(address.sun_path, path, length);
		if (*path == '@')
			address.sun_path[0] = '\0';
		length += offsetof(struct sockaddr_un, sun_path);
		sendto(fd, message, strlen(message), 0, (struct sockaddr *)&address,
		       (socklen_t)length);
	}
	close(fd);
}

static int listen_on(const char *text)
{
	struct sockaddr_in in = {.sin_family = AF_INET};
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};
	bool is_in6 = *text == '[';
	struct sockaddr *address = is_in6 ? (struct sockaddr *)&in6 : (struct sockaddr *)&in;
	char host[64] = "";
	uint16_t port = 0;
	int one = 1, fd;

	sscanf(text, is_in6 ? "[%63[^]]]:%hu" : "%63[^:]:%hu", host, &port);
	in.sin_port = in6.sin6_port = htons(port);
	errno = EINVAL;
	if (inet_pton(address->sa_family, host, is_in6 ? (void *)&in6.sin6_addr : &in.sin_addr) !=
	    1)
		die(text);
	fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one));
	if (bind(fd, address, is_in6 ? sizeof(in6) : sizeof(in)) < 0 || listen(fd, 4096) < 0)
		die(text);
	return fd;
}

/* sd_listen_fds(3): sockets from 3 on, but only if they are meant for this very process. */
static void take_sockets(void)
{
	const char *pid = getenv("LISTEN_PID"), *count = getenv("LISTEN_FDS");

	if (option[FD])
		listeners[n_listeners++] = atoi(option[FD]);
	else if (pid && count && atoi(pid) == getpid())
		while (n_listeners < LISTENERS_MAX && (int)n_listeners < atoi(count)) {
			listeners[n_listeners] = 3 + (int)n_listeners;
			n_listeners++;
		}
	else
		listeners[n_listeners++] = listen_on(option[LISTEN] ?: "127.0.0.1:8080");

	/*
	 * A connection can vanish from the queue, and then a blocking accept() would stop
	 * everything. With steering "hash" the sockets are only bound, so listen on them.
	 */
	for (size_t i = 0; i < n_listeners; i++)
		if (fcntl(listeners[i], F_SETFL, O_NONBLOCK) < 0 ||
		    fcntl(listeners[i], F_SETFD, FD_CLOEXEC) < 0 || listen(listeners[i], 4096) < 0)
			die("listening socket");
}

/* ---- connections ---------------------------------------------------------------------------- */

static void watch(int fd)
{
	struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};

	if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0)
		die("epoll_ctl");
}

static void accept_all(int listener)
{
	for (;;) {
		int one = 1, fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		struct connection *c = fd >= 0 && fd < FDS_MAX ? malloc(sizeof(*c)) : NULL;

		if (fd < 0 && (errno == EINTR || errno == ECONNABORTED || errno == EPROTO))
			continue; /* this concerns one connection only: accept(2) */
		if (fd < 0 &&
		    errno == EINVAL) /* shut down from outside: it would wake us for ever */
			epoll_ctl(epoll_fd, EPOLL_CTL_DEL, listener, NULL);
		if (fd < 0)
			return; /* EAGAIN; or no descriptors are left: then epoll wakes us again */
		if (!c) {
			close(fd);
			continue;
		}
		memset(c, 0, offsetof(struct connection, buffer));
		c->fd = fd;
		c->active_ms = clock_ms();
		connections[fd] = c;
		stats.accepted++;
		stats.open++;
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		watch(fd);
	}
}

static void close_connection(struct connection *c)
{
	connections[c->fd] = NULL;
	close(c->fd);
	free(c);
	stats.open--;
}

/*
 * End a connection whose client may be sending at this moment: close() would answer that with a
 * reset, which can destroy an answer that the client has not read yet (RFC 9112 section 9.6).
 */
static void linger(struct connection *c)
{
	shutdown(c->fd, SHUT_WR);
	c->lingering = true;
	c->length = 0;
	c->active_ms = clock_ms();
}

/* ---- HTTP: each function returns false when the connection takes no more requests ----------- */

static bool answer(struct connection *c, const char *status, const char *body)
{
	bool last = c->close_after || drain_ms;
	char text[1024];
	int length = snprintf(
		text, sizeof(text),
		"HTTP/1.1 %s\r\nContent-Type: text/plain\r\nContent-Length: %zu\r\n%s\r\n%s",
		status, strlen(body), last ? "Connection: close\r\n" : "", body);

	stats.requests++;
	c->served = true;
	c->active_ms = clock_ms();
	/* It fits, unless the client has filled the socket's buffer by never reading. */
	if (send(c->fd, text, (size_t)length, MSG_NOSIGNAL) != length ||
	    (c->close_after && c->length == 0))
		close_connection(c);
	else if (last)
		linger(c);
	else
		return true;
	return false;
}

static void stats_text(char *text, size_t size)
{
	snprintf(text, size,
		 "{\"generation\": \"%s\", \"pid\": %d, \"connections\": %lu, \"requests\": %lu, "
		 "\"probes\": %lu, \"other\": %lu, \"open\": %lu}\n",
		 option[GENERATION], getpid(), stats.accepted, stats.requests, stats.probes,
		 stats.other, stats.open);
}

static bool respond(struct connection *c)
{
	bool healthy = !option[UNHEALTHY] && clock_ms() >= start_ms + option_ms(READY_AFTER) &&
		       (!option[UNHEALTHY_WHILE] || access(option[UNHEALTHY_WHILE], F_OK) != 0);
	char text[512];

	if (strcmp(c->method, "GET") == 0 && strcmp(c->path, "/healthz") == 0) {
		stats.probes++;
		return answer(c, healthy ? "200 OK" : "503 Service Unavailable",
			      healthy ? "ok\n" : "not ready\n");
	}
	if (strcmp(c->method, "GET") == 0 && strcmp(c->path, "/stats") == 0) {
		stats_text(text, sizeof(text)); /* "other" counts neither of these two */
		return answer(c, "200 OK", text);
	}
	stats.other++;
	if (strcmp(c->method, "GET") == 0 && strcmp(c->path, "/") == 0)
		snprintf(text, sizeof(text), "generation %s instance %s pid %d\n",
			 option[GENERATION], option[INSTANCE], getpid());
	else if (strcmp(c->method, "POST") == 0)
		snprintf(text, sizeof(text), "length %lu\n", c->body_length);
	else
		return answer(c, "404 Not Found", "not found\n");
	return answer(c, "200 OK", text);
}

/* The value of a header in "\r\nName: value\r\n...", or NULL. */
static const char *header(const char *lines, const char *name)
{
	size_t length = strlen(name);

	while ((lines = strstr(lines, "\r\n"))) {
		lines += 2;
		if (strncasecmp(lines, name, length) == 0 && lines[length] == ':')
			return lines + length + 1 + strspn(lines + length + 1, " \t");
	}
	return NULL;
}

/* The buffer begins with a whole header, up to @end. */
static bool take_head(struct connection *c, char *end)
{
	size_t used = (size_t)(end - c->buffer) + 4;
	const char *length, *connection;
	bool understood;

	*end = '\0';
	length = header(c->buffer, "Content-Length");
	connection = header(c->buffer, "Connection");
	understood = sscanf(c->buffer, "%7s %63s HTTP/1.", c->method, c->path) == 2 &&
		     !header(c->buffer, "Transfer-Encoding");
	c->close_after = !understood || (connection && strncasecmp(connection, "close", 5) == 0);
	c->body_left = c->body_length = length ? strtoull(length, NULL, 10) : 0;
	c->in_body = true;
	c->length -= used;
	memmove(c->buffer, c->buffer + used, c->length);
	return understood || answer(c, "400 Bad Request", "not understood\n");
}

static bool take_request(struct connection *c)
{
	char *end = c->in_body ? NULL : memmem(c->buffer, c->length, "\r\n\r\n", 4);
	size_t used;

	if (!c->in_body && !end) {
		c->close_after = c->length == sizeof(c->buffer);
		if (c->close_after)
			answer(c, "431 Request Header Fields Too Large", "too long\n");
		return false;
	}
	if (end && !take_head(c, end))
		return false;
	used = c->length < c->body_left ? c->length : c->body_left;
	c->body_left -= used;
	c->length -= used;
	memmove(c->buffer, c->buffer + used, c->length);
	if (c->body_left)
		return false;
	c->in_body = false;
	return respond(c);
}

static void on_readable(struct connection *c)
{
	ssize_t n = recv(c->fd, c->buffer + c->length, sizeof(c->buffer) - c->length, 0);

	if (n == 0 || (n < 0 && errno != EAGAIN)) {
		close_connection(c);
	} else if (n > 0 && !c->lingering && !option[HANG]) {
		c->active_ms = clock_ms();
		c->length += (size_t)n;
		while (take_request(c) && c->length)
			;
	}
}

/* ---- draining ------------------------------------------------------------------------------- */

/*
 * New connections are already steered elsewhere. Earlier ones may still be in the queue: accept
 * them first, and then close the listener.
 */
static void begin_drain(void)
{
	if (drain_ms)
		return;
	drain_ms = clock_ms();
	notify("STOPPING=1");
	for (size_t i = 0; i < n_listeners; i++) {
		if (!option[NEVER_ACCEPT])
			accept_all(listeners[i]);
		close(listeners[i]);
	}
	n_listeners = 0;
}

/*
 * Requests under way take the time that they need: the orchestrator has a deadline, this server
 * needs none. A connection without a request is ended after a short grace, our end first. A client
 * whose request crosses that sees a clean end before any byte of an answer, and repeats the request
 * on a new connection (RFC 9112 section 9.3.1).
 */
static void drain(void)
{
	uint64_t now = clock_ms();

	for (int fd = 0; fd < FDS_MAX; fd++) {
		struct connection *c = connections[fd];
		uint64_t since;

		if (!c)
			continue;
		since = c->active_ms > drain_ms ? c->active_ms : drain_ms;
		if (c->lingering && now >= since + LINGER_MS)
			close_connection(c);
		else if (!c->lingering && !c->in_body && c->length == 0 &&
			 now >= since + (c->served ? IDLE_GRACE_MS : FRESH_GRACE_MS))
			linger(c);
	}
}

/* ---- the program ---------------------------------------------------------------------------- */

/* By rename(2), so that a reader never sees half of the file. */
static void write_stats(void)
{
	char text[512], path[4096];
	FILE *file;

	if (!option[STATS_FILE])
		return;
	snprintf(path, sizeof(path), "%s.%d", option[STATS_FILE], getpid());
	stats_text(text, sizeof(text));
	file = fopen(path, "we");
	if (!file || fputs(text, file) == EOF || fclose(file) == EOF ||
	    rename(path, option[STATS_FILE]) < 0)
		perror(path);
}

static void on_signal(void)
{
	struct signalfd_siginfo info;

	if (read(signal_fd, &info, sizeof(info)) != (ssize_t)sizeof(info))
		return;
	if (info.ssi_signo == SIGUSR1)
		write_stats();
	else if (!option[IGNORE_TERM])
		told = true;
}

/* The file of such an option is there. */
static bool stands_still(int which)
{
	return option[which] && access(option[which], F_OK) == 0;
}

/* Connections that wait keep epoll_wait() from waiting. */
static void accept_unless_idle(int listener)
{
	const struct timespec tick = {0, DRAIN_TICK_MS * 1000000L};

	if (drain_ms)
		return;
	if (stands_still(IDLE_WHILE))
		nanosleep(&tick, NULL);
	else
		accept_all(listener);
}

static void serve(void)
{
	struct epoll_event events[64];

	while (!drain_ms || stats.open || stands_still(STAY_WHILE)) {
		int n = epoll_wait(epoll_fd, events, 64, told ? DRAIN_TICK_MS : -1);

		for (int i = 0; i < n; i++) {
			int fd = events[i].data.fd;

			if (connections[fd])
				on_readable(connections[fd]);
			else if (fd == signal_fd)
				on_signal();
			else
				accept_unless_idle(fd);
		}
		if (told && !stands_still(LISTEN_WHILE))
			begin_drain();
		if (drain_ms)
			drain();
	}
}

/* What a server does before it can serve. Options make this one do it badly. */
static void start(void)
{
	uint64_t delay_ms = option_ms(STARTUP_DELAY);
	struct timespec delay = {(time_t)(delay_ms / 1000), (long)(delay_ms % 1000) * 1000000};

	if (option[EXIT_AT_ONCE]) {
		fprintf(stderr, "server: told to exit with status %s\n", option[EXIT_AT_ONCE]);
		exit(atoi(option[EXIT_AT_ONCE]));
	}
	nanosleep(&delay, NULL);
}

int main(int argc, char **argv)
{
	sigset_t set;
	int code;

	option[GENERATION] = getenv("GENERATION") ?: "0";
	option[INSTANCE] = getenv("INSTANCE") ?: "0";
	while ((code = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (code == '?')
			return 2;
		option[code] = optarg ?: "";
	}
	start();

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal_fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	start_ms = clock_ms();
	take_sockets();
	for (size_t i = 0; i < n_listeners && !option[NEVER_ACCEPT]; i++)
		watch(listeners[i]);
	watch(signal_fd);
	notify("READY=1");

	serve();
	write_stats();
	return 0;
}
