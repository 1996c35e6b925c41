/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/epoll.h>

#include "common/clock.h"
#include "orchestrator/health/probe_internal.h"
#include "orchestrator/health/proxy_header.h"

#define UNREAD_MAX (64 * 1024) /* of what a server has sent and nobody has asked for */
#define SPEAK_MS   20          /* so long a server may take to say something first */

/* ---- the connection ------------------------------------------------------------------------- */

/* Tell the caller that the source is free again, once. */
void probe_release_source(struct probe *p)
{
	if (!p->bound)
		return;
	p->bound = false;
	p->callbacks.on_close(p->userdata, (const struct sockaddr *)&p->source);
}

/*
 * Close our end so that nothing is left of the connection, neither a TIME_WAIT on either side nor
 * a reset that the server reads. tcp(7), TCP_LINGER2 below 0: as soon as the server's kernel has
 * acknowledged our FIN ours forgets the connection, and answers whatever comes with a reset. By
 * then the server reads an end of file, whatever else comes. What is not read would make a reset of
 * the FIN itself.
 *
 * Not so if nobody has accepted it, as far as is known (@heard): after a reset the kernel would
 * still have it in the queue, but list it no more, and it would be counted as a client's
 * (sources.h).
 */
static void close_connection(int fd, bool heard)
{
	char unread[4096];
	int at_once = -1;

	for (int i = 0; heard && i < UNREAD_MAX / (int)sizeof(unread); i++)
		if (recv(fd, unread, sizeof(unread), MSG_DONTWAIT) <= 0)
			break;
	if (heard)
		setsockopt(fd, IPPROTO_TCP, TCP_LINGER2, &at_once, sizeof(at_once));
	close(fd);
}

static void part_first(struct prober *prober)
{
	struct parted *parted = &prober->parted[prober->first_parted++ % PARTED_MAX];

	prober->n_parted--;
	close_connection(TAKE_FD(parted->fd), true);
}

static int on_part(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct prober *prober = userdata;
	uint64_t now_ms = clock_monotonic_ms();
	const struct parted *first;

	(void)source;
	(void)usec;
	while (prober->n_parted > 0) {
		first = &prober->parted[prober->first_parted % PARTED_MAX];
		if (first->until_ms > now_ms) {
			timer_set(&prober->part, prober->event, first->until_ms, on_part, prober);
			break;
		}
		part_first(prober);
	}
	return 0;
}

/*
 * A server that has accepted the connection may want to say something first. That is let in before
 * the close, which would be a reset otherwise; but nobody waits for it.
 */
static void part_later(struct prober *prober, int fd)
{
	struct parted *parted;

	if (prober->n_parted == PARTED_MAX)
		part_first(prober);
	parted = &prober->parted[(prober->first_parted + prober->n_parted++) % PARTED_MAX];
	*parted = (struct parted){.fd = fd, .until_ms = clock_monotonic_ms() + SPEAK_MS};
	if (!timer_is_set(&prober->part))
		timer_set(&prober->part, prober->event, parted->until_ms, on_part, prober);
	if (!timer_is_set(&prober->part))
		prober_part_all(prober); /* there is no memory */
}

void prober_part_all(struct prober *prober)
{
	while (prober->n_parted > 0)
		part_first(prober);
	timer_done(&prober->part);
}

/* Has the server accepted it, as far as is known? */
static bool has_heard(const struct probe *p)
{
	return p->accepted || p->answer.status || p->first_length;
}

/* The connection may outlive its probe in curl's hands: so the probe is looked up, not passed. */
int probe_on_curl_close(void *userdata, curl_socket_t fd)
{
	struct prober *prober = userdata;
	struct probe *p = prober->probes;

	while (p && p->fd != fd)
		p = p->next;
	if (p)
		probe_look_at_end(p, fd);
	close_connection(fd, !p || has_heard(p));
	if (p) {
		p->fd = -1;
		probe_release_source(p);
	}
	return 0;
}

curl_socket_t probe_on_curl_open(void *userdata, curlsocktype purpose,
				 struct curl_sockaddr *address)
{
	struct probe *p = userdata;

	if (purpose != CURLSOCKTYPE_IPCXN || p->state == PROBE_CANCELLED)
		return CURL_SOCKET_BAD;
	/* One for each address of the name that curl tries. */
	if (p->url)
		return socket(address->family, address->socktype | SOCK_CLOEXEC | SOCK_NONBLOCK,
			      address->protocol);
	/* A second connection would be one that nobody has pinned. */
	if (p->curls)
		return CURL_SOCKET_BAD;
	p->curls = true;
	return p->fd;
}

int probe_on_curl_opened(void *userdata, curl_socket_t fd, curlsocktype purpose)
{
	const struct probe *p = userdata;

	(void)fd;
	(void)purpose;
	return p->url ? CURL_SOCKOPT_OK : CURL_SOCKOPT_ALREADY_CONNECTED;
}

static void refuse_step(struct probe *p, const char *step, int error)
{
	probe_refuse(p, probe_is_own_trouble(error), "%s%s: %s", p->whom, step, strerror(error));
}

/* All ports of the range are taken, or those that are left have just been used for this address. */
static void refuse_ports(struct probe *p, const char *step)
{
	probe_refuse(
		p, true,
		"%s%s: this host has no local port left (net.ipv4.ip_local_port_range says how "
		"many it has)",
		p->whom, step);
}

/* A socket bound to the target's own address and any port; negative: the probe has been refused. */
static int bind_source(struct probe *p)
{
	cleanup_close int fd = -1;
	struct address local = p->target;
	socklen_t length = sizeof(p->source);

	fd = socket(local.sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0) {
		refuse_step(p, "socket", errno);
		return -1;
	}
	if (local.sa.sa_family == AF_INET6)
		local.in6.sin6_port = 0;
	else
		local.in.sin_port = 0;
	if (bind(fd, &local.sa, local.length) < 0) {
		if (errno == EADDRINUSE) /* ip(7): of port 0 */
			refuse_ports(p, "bind");
		else
			refuse_step(p, "bind", errno);
		return -1;
	}
	if (getsockname(fd, (struct sockaddr *)&p->source, &length) < 0) {
		refuse_step(p, "getsockname", errno);
		return -1;
	}
	p->fd = TAKE_FD(fd);
	return 0;
}

/* False: the probe has been refused or cancelled. */
static bool pin_source(struct probe *p)
{
	int r;

	p->calling = true;
	r = p->callbacks.on_bind(p->userdata, (const struct sockaddr *)&p->source);
	p->calling = false;
	if (p->state == PROBE_CANCELLED)
		return false;
	if (r < 0) {
		probe_refuse(p, true, "pin the probe's source: %s", strerror(-r));
		return false;
	}
	p->bound = true;
	return true;
}

static int on_connect_io(sd_event_source *source, int fd, uint32_t revents, void *userdata);

static void refuse_connect(struct probe *p, int error)
{
	/* connect(2): no port is left for this pair of addresses. */
	if (error == EADDRNOTAVAIL || error == EAGAIN)
		refuse_ports(p, "connect");
	/* Only an established connection is reset (net/ipv4/tcp_input.c, tcp_reset()). */
	else if (error == ECONNRESET || error == EPIPE)
		probe_refuse(p, false, "%sconnect: the server reset the connection at once",
			     p->whom);
	else
		refuse_step(p, "connect", error);
}

void probe_connect(struct probe *p)
{
	int r;

	if (bind_source(p) < 0 || !pin_source(p))
		return;
	if (connect(p->fd, &p->target.sa, p->target.length) < 0 && errno != EINPROGRESS) {
		refuse_connect(p, errno);
		return;
	}
	r = sd_event_add_io(p->prober->event, &p->io, p->fd, EPOLLOUT, on_connect_io, p);
	if (r < 0) {
		probe_refuse(p, true, "watch the connection: %s", strerror(-r));
		return;
	}
	p->state = PROBE_CONNECTING;
	timer_set(&p->timer, p->prober->event, p->started_ms + p->health.timeout_ms,
		  p->prober->on_timer, p);
}

/* Nothing else has been sent: the kernel has room for all of it. False: the probe is refused. */
static bool send_proxy_header(struct probe *p)
{
	char header[PROXY_HEADER_MAX];
	size_t n = proxy_header(p->health.proxy_protocol, (struct sockaddr *)&p->source,
				&p->target.sa, header);

	if (n == 0 || send(p->fd, header, n, MSG_NOSIGNAL) == (ssize_t)n)
		return true;
	refuse_step(p, "send the PROXY header", errno);
	return false;
}

static int on_connect_io(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	struct probe *p = userdata;
	int error = 0;
	socklen_t length = sizeof(error);

	(void)source;
	(void)revents;
	p->io = sd_event_source_disable_unref(p->io);
	timer_stop(&p->timer);
	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) < 0)
		error = errno;
	if (error) {
		refuse_connect(p, error);
		return 0;
	}
	p->connected = true;
	if (send_proxy_header(p))
		p->prober->go_on(p);
	return 0;
}

/* Close its connection and give curl's part of it back. */
void probe_disconnect(struct probe *p)
{
	timer_done(&p->timer);
	p->io = sd_event_source_disable_unref(p->io);
	if (p->easy)
		curl_loop_cleanup(p->prober->loop, TAKE_PTR(p->easy));
	if (p->fd >= 0 && !p->curls && p->accepted)
		part_later(p->prober, TAKE_FD(p->fd));
	else if (p->fd >= 0 && !p->curls)
		close_connection(TAKE_FD(p->fd), has_heard(p));
	probe_release_source(p);
}
