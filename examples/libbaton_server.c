/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * libbaton_server [ADDRESS:PORT...]: a small HTTP server that can be replaced without losing a
 * request. It answers one request per connection, and has one poll(2) for all. libbaton does the
 * rest: look for "baton_".
 */
#include <baton.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define CLIENTS_MAX 1000
#define REQUEST_MAX 8192 /* header and body */
#define IDLE_S      5    /* a client that says nothing for so long is closed, at any time */

struct client {
	int fd;
	time_t active;
	size_t length; /* bytes of the request that have come */
	size_t wanted; /* bytes of the whole request; 0: not known yet */
	char request[REQUEST_MAX + 1];
};

static struct client *clients[CLIENTS_MAX];
static int n_clients;

static time_t now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec;
}

static void accept_all(int listener)
{
	int fd;

	while (n_clients < CLIENTS_MAX && (fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
		struct client *client = calloc(1, sizeof(*client));

		if (!client) {
			close(fd);
			return;
		}
		client->fd = fd;
		client->active = now();
		clients[n_clients++] = client;
	}
}

static void answer(int fd)
{
	const char *generation = getenv("GENERATION");
	char body[64], text[256];
	int length;

	snprintf(body, sizeof(body), "generation %s pid %d\n", generation ? generation : "0",
		 getpid());
	length = snprintf(text, sizeof(text),
			  "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %zu\r\n\r\n%s",
			  strlen(body), body);
	send(fd, text, (size_t)length, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/*
 * Returns false when the connection is to be closed. The whole request is read first: a socket that
 * is closed with data unread resets its connection.
 */
static bool on_readable(struct client *client)
{
	size_t room = REQUEST_MAX - client->length;
	ssize_t n = recv(client->fd, client->request + client->length, room, MSG_DONTWAIT);
	const char *end, *length;

	if (n <= 0)
		return false;
	client->active = now();
	client->length += (size_t)n;
	client->request[client->length] = '\0';
	end = client->wanted ? NULL : strstr(client->request, "\r\n\r\n");
	if (end) {
		length = strcasestr(client->request, "\r\nContent-Length:");
		client->wanted = (size_t)(end - client->request) + 4;
		if (length && length < end)
			client->wanted += strtoul(length + 17, NULL, 10);
	}
	if (!client->wanted || client->length < client->wanted)
		return client->length < REQUEST_MAX;
	answer(client->fd);
	return false;
}

/* One turn of the loop: @n listening sockets, one descriptor of libbaton, and the clients. */
static void turn(struct baton *baton, int n)
{
	struct pollfd fds[BATON_SOCKETS_MAX + 1 + CLIENTS_MAX] = {0};
	struct pollfd *leave = &fds[n], *polled = &fds[n + 1];

	for (int i = 0; i < n; i++)
		fds[i] =
			(struct pollfd){.fd = n_clients < CLIENTS_MAX ? baton_socket(baton, i) : -1,
					.events = POLLIN};
	/* It stays readable for ever, so watch it only while we can act on it. */
	*leave =
		(struct pollfd){.fd = n > 0 && n_clients < CLIENTS_MAX ? baton_leave_fd(baton) : -1,
				.events = POLLIN};
	for (int i = 0; i < n_clients; i++)
		polled[i] = (struct pollfd){.fd = clients[i]->fd, .events = POLLIN};
	if (poll(fds, (nfds_t)(n + 1 + n_clients), 1000) < 0)
		return; /* EINTR */
	for (int i = n_clients - 1; i >= 0; i--) {
		if (polled[i].revents ? on_readable(clients[i])
				      : now() < clients[i]->active + IDLE_S)
			continue;
		close(clients[i]->fd);
		free(clients[i]);
		clients[i] = clients[--n_clients];
	}
	for (int i = 0; i < n; i++)
		accept_all(baton_socket(baton, i));
	if (leave->revents && n_clients < CLIENTS_MAX) /* so the queue is empty */
		baton_stop_listening(baton);
	if (baton_asked(baton) > 0)
		baton_left(baton, (unsigned long)n_clients);
}

int main(int argc, char **argv)
{
	static const char *const addresses[] = {"127.0.0.1:8080", NULL};
	struct baton_options options = BATON_OPTIONS_INIT;
	struct baton *baton;
	char why[256];
	int n;

	options.listen = argc > 1 ? (const char *const *)argv + 1 : addresses;
	options.error = why;
	options.error_size = sizeof(why);
	if (baton_open(&options, &baton) < 0) {
		fprintf(stderr, "libbaton_server: %s\n", why);
		return 1;
	}
	baton_ready(baton);
	while ((n = baton_socket_count(baton)) > 0 || n_clients > 0)
		turn(baton, n);
	baton_done(baton);
	baton_close(baton);
	return 0;
}
