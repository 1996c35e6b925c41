/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * epoll PORT: a server of one thread that stops accepting by taking its listener out of epoll.
 *
 *	TERM	EPOLL_CTL_DEL of the listener; finish what was accepted; exit. The listener is open
 *		until the exit: what comes into its queue meanwhile, nobody accepts.
 *	USR2	start a successor, which binds the port beside this one (SO_REUSEPORT) and sends
 *TERM to its parent when it listens.
 */
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <time.h>

#include "tests/servers/programs/http.h"

#define FDS_MAX        8192
#define FIRST_GRACE_MS 2000 /* draining: wait so long for the first request of a connection */
#define DRAIN_TICK_MS  50
#define SUCCESSOR      "EPOLL_SUCCESSOR"

struct connection {
	bool served;
	size_t length;
	char buffer[HTTP_REQUEST_MAX + 1];
};

static struct connection *connections[FDS_MAX];
static size_t n_connections;
static int epoll_fd, signal_fd, listener;
static uint64_t drain_ms; /* 0: it accepts */

static void die(const char *what)
{
	fprintf(stderr, "epoll: %s: %s\n", what, strerror(errno));
	exit(1);
}

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static void watch(int fd)
{
	struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};

	if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0)
		die("epoll_ctl");
}

static void listen_on(uint16_t port)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_port = htons(port),
				      .sin_addr = {htonl(INADDR_LOOPBACK)}};
	int one = 1;

	listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	setsockopt(listener, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one));
	if (bind(listener, (struct sockaddr *)&address, sizeof(address)) < 0 ||
	    listen(listener, 4096) < 0)
		die("listen");
	fprintf(stderr, "pid %d listens\n", (int)getpid());
}

static void close_connection(int fd)
{
	free(connections[fd]);
	connections[fd] = NULL;
	n_connections--;
	close(fd);
}

static void accept_all(void)
{
	int fd;

	while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
		if (fd >= FDS_MAX || !(connections[fd] = calloc(1, sizeof(struct connection)))) {
			close(fd);
			continue;
		}
		n_connections++;
		watch(fd);
	}
}

static void on_readable(int fd)
{
	struct connection *c = connections[fd];
	ssize_t n = recv(fd, c->buffer + c->length, HTTP_REQUEST_MAX - c->length, 0);
	struct http_request request;
	char text[HTTP_ANSWER_MAX];
	bool last = false;

	if (n < 0 && errno == EAGAIN)
		return;
	if (n <= 0) {
		close_connection(fd);
		return;
	}
	c->length += (size_t)n;
	c->buffer[c->length] = '\0';
	while (!last && http_take(c->buffer, c->length, &request)) {
		last = request.last || drain_ms;
		n = (ssize_t)http_answer(text, request.health, last);
		last |= send(fd, text, (size_t)n, MSG_NOSIGNAL) != n;
		c->served = true;
		c->length -= request.length;
		memmove(c->buffer, c->buffer + request.length, c->length + 1);
	}
	if (last)
		close_connection(fd);
}

/* Connections between two requests are closed at once; the others are finished. */
static void drain(void)
{
	bool over = now_ms() >= drain_ms + FIRST_GRACE_MS;

	for (int fd = 0; fd < FDS_MAX; fd++)
		if (connections[fd] && connections[fd]->length == 0 &&
		    (connections[fd]->served || over))
			close_connection(fd);
}

static void begin_drain(void)
{
	if (drain_ms)
		return;
	drain_ms = now_ms();
	epoll_ctl(epoll_fd, EPOLL_CTL_DEL, listener, NULL);
}

static void start_successor(char **argv)
{
	if (fork() != 0)
		return;
	setenv(SUCCESSOR, "1", 1);
	execv(argv[0], argv);
	die(argv[0]);
}

static void on_signal(char **argv)
{
	struct signalfd_siginfo info;

	if (read(signal_fd, &info, sizeof(info)) != (ssize_t)sizeof(info))
		return;
	if (info.ssi_signo == SIGUSR2)
		start_successor(argv);
	else
		begin_drain();
}

static void serve(char **argv)
{
	struct epoll_event events[64];

	while (!drain_ms || n_connections) {
		int n = epoll_wait(epoll_fd, events, 64, drain_ms ? DRAIN_TICK_MS : -1);

		for (int i = 0; i < n; i++) {
			int fd = events[i].data.fd;

			if (connections[fd])
				on_readable(fd);
			else if (fd == signal_fd)
				on_signal(argv);
			else if (fd == listener && !drain_ms)
				accept_all();
		}
		if (drain_ms)
			drain();
	}
}

int main(int argc, char **argv)
{
	sigset_t set;

	if (argc != 2) {
		fputs("usage: epoll PORT\n", stderr);
		return 2;
	}
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGUSR2);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal_fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	listen_on((uint16_t)atoi(argv[1]));
	watch(signal_fd);
	watch(listener);
	if (getenv(SUCCESSOR))
		kill(getppid(), SIGTERM);
	unsetenv(SUCCESSOR);
	serve(argv);
	return 0;
}
