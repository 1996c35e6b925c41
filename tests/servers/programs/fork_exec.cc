// SPDX-License-Identifier: BSD-2-Clause
//
// fork_exec PORT: a server with a thread for each connection, which takes its listening socket from
// FD=<n> in the environment if it is there.
//
//	TERM	close the listener; finish what was accepted; exit.
//	USR2	fork and execute itself with FD=<the listener>; then as on TERM.
//
// The socket is the same in both: what waits in its queue is the successor's. Nobody looks whether
// there is one.
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <fcntl.h>
#include <iostream>
#include <netinet/in.h>
#include <poll.h>
#include <string>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <thread>
#include <vector>

#include "tests/servers/programs/http.h"

extern char **environ;

namespace
{

constexpr int tick_ms = 50, first_grace_ms = 2000;
std::atomic<bool> draining(false);
std::atomic<int> connections(0);

[[noreturn]] void die(const std::string &what)
{
	std::cerr << "fork_exec: " << what << ": " << strerror(errno) << "\n";
	std::exit(1);
}

int listen_on(uint16_t port)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;
	sockaddr_in address = {};

	address.sin_family = AF_INET;
	address.sin_port = htons(port);
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(fd, reinterpret_cast<sockaddr *>(&address), sizeof(address)) < 0 ||
	    listen(fd, 4096) < 0)
		die("listen");
	return fd;
}

// Another process may be quicker with a connection: accept must not wait for the next one then.
int take_listener(uint16_t port)
{
	const char *given = getenv("FD");
	int fd = given ? atoi(given) : listen_on(port);

	if (fcntl(fd, F_SETFL, O_NONBLOCK) < 0)
		die("FD=" + std::to_string(fd));
	std::cerr << "pid " << getpid() << " listens\n";
	return fd;
}

// Until there is something to read. False: it is not worth waiting for, as we drain.
bool wait_readable(int fd, bool between_requests)
{
	pollfd poll_fd = {fd, POLLIN, 0};
	int waited_ms = 0;

	while (poll(&poll_fd, 1, tick_ms) == 0) {
		if (!draining)
			continue;
		waited_ms += tick_ms;
		if (between_requests || waited_ms > first_grace_ms)
			return false;
	}
	return true;
}

void serve(int fd)
{
	char buffer[HTTP_REQUEST_MAX + 1], answer[HTTP_ANSWER_MAX];
	bool last = false, served = false;
	size_t length = 0;

	while (!last && wait_readable(fd, served && length == 0)) {
		ssize_t n = recv(fd, buffer + length, HTTP_REQUEST_MAX - length, 0);
		http_request request;

		if (n <= 0)
			break;
		length += static_cast<size_t>(n);
		buffer[length] = '\0';
		while (!last && http_take(buffer, length, &request)) {
			last = request.last || draining;
			n = static_cast<ssize_t>(http_answer(answer, request.health, last));
			last |= send(fd, answer, static_cast<size_t>(n), MSG_NOSIGNAL) != n;
			served = true;
			length -= request.length;
			memmove(buffer, buffer + request.length, length + 1);
		}
	}
	close(fd);
	connections--;
}

void start_successor(int listener, char **argv)
{
	std::string given = "FD=" + std::to_string(listener);
	std::vector<char *> environment;

	for (char **each = environ; *each; each++)
		if (strncmp(*each, "FD=", 3) != 0)
			environment.push_back(*each);
	environment.push_back(given.data());
	environment.push_back(nullptr);
	if (fork() == 0) {
		execve(argv[0], argv, environment.data());
		_exit(127);
	}
}

// Until a signal says that it is enough.
void accept_all(int listener, int signals, char **argv)
{
	pollfd fds[] = {{listener, POLLIN, 0}, {signals, POLLIN, 0}};
	signalfd_siginfo info;

	for (;;) {
		if (poll(fds, 2, -1) < 0 && errno != EINTR)
			die("poll");
		if (read(signals, &info, sizeof(info)) == sizeof(info)) {
			if (info.ssi_signo == SIGUSR2)
				start_successor(listener, argv);
			return;
		}
		int fd = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
		if (fd >= 0) {
			connections++;
			std::thread(serve, fd).detach();
		}
	}
}

} // namespace

int main(int argc, char **argv)
{
	sigset_t set;

	if (argc != 2) {
		std::cerr << "usage: fork_exec PORT\n";
		return 2;
	}
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGUSR2);
	sigprocmask(SIG_BLOCK, &set, nullptr);
	int signals = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	int listener = take_listener(static_cast<uint16_t>(atoi(argv[1])));

	accept_all(listener, signals, argv);
	close(listener);
	draining = true;
	while (connections > 0)
		std::this_thread::sleep_for(std::chrono::milliseconds(tick_ms));
	return 0;
}
