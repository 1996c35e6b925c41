// SPDX-License-Identifier: BSD-2-Clause
//
// asio PORT: a server of one thread that closes its acceptor, and retries its bind.
//
//	TERM	close the acceptor; finish what was accepted; exit.
//	USR2	start a successor. It tries to bind the port, which this one has; then it sends TERM
//		to its parent and tries again, until it can.
//
// So whoever starts it beside another one has to end that one, and whoever connects between the
// close and the bind is refused.
#include <csignal>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <set>

#include <asio.hpp>

#include "tests/servers/programs/http.h"

using asio::ip::tcp;
using std::chrono::milliseconds;

namespace
{

constexpr milliseconds retry_every(50), first_grace(2000);
constexpr int tries_max = 1200;
constexpr char successor[] = "ASIO_SUCCESSOR";

class Server;

class Connection : public std::enable_shared_from_this<Connection>
{
      public:
	Connection(tcp::socket socket, Server &server) : socket_(std::move(socket)), server_(server)
	{
	}
	void read();
	// @over: those that have never asked for anything are not waited for any more.
	void drain(bool over);

      private:
	void on_read();
	void answer(const http_request &request);
	void close();

	tcp::socket socket_;
	Server &server_;
	bool served_ = false, answering_ = false;
	size_t length_ = 0, answer_length_ = 0;
	char buffer_[HTTP_REQUEST_MAX + 1], answer_[HTTP_ANSWER_MAX];
};

class Server
{
      public:
	Server(asio::io_context &io, uint16_t port, char **argv)
	    : io_(io), endpoint_(asio::ip::address_v4::loopback(), port), argv_(argv),
	      acceptor_(io), timer_(io), signals_(io, SIGTERM, SIGUSR2)
	{
		wait_for_signal();
		listen();
	}
	bool draining() const
	{
		return draining_;
	}
	void forget(const std::shared_ptr<Connection> &connection)
	{
		connections_.erase(connection);
		end_if_idle();
	}

      private:
	void listen();
	void accept();
	void wait_for_signal();
	void start_successor();
	void begin_drain();
	void end_if_idle();

	asio::io_context &io_;
	tcp::endpoint endpoint_;
	char **argv_;
	tcp::acceptor acceptor_;
	asio::steady_timer timer_;
	asio::signal_set signals_;
	std::set<std::shared_ptr<Connection>> connections_;
	bool draining_ = false;
	int tries_ = 0;
};

void Connection::read()
{
	socket_.async_read_some(
		asio::buffer(buffer_ + length_, HTTP_REQUEST_MAX - length_),
		[this, self = shared_from_this()](const asio::error_code &error, size_t n) {
			if (error || n == 0)
				return close();
			length_ += n;
			on_read();
		});
}

void Connection::on_read()
{
	http_request request;

	buffer_[length_] = '\0';
	if (http_take(buffer_, length_, &request))
		answer(request);
	else
		read();
}

void Connection::answer(const http_request &request)
{
	bool last = request.last || server_.draining();

	answer_length_ = http_answer(answer_, request.health, last);
	answering_ = true;
	length_ -= request.length;
	memmove(buffer_, buffer_ + request.length, length_);
	asio::async_write(
		socket_, asio::buffer(answer_, answer_length_),
		[this, last, self = shared_from_this()](const asio::error_code &error, size_t) {
			served_ = true;
			answering_ = false;
			if (error || last)
				return close();
			on_read();
		});
}

void Connection::drain(bool over)
{
	if (length_ == 0 && !answering_ && (served_ || over))
		close();
}

void Connection::close()
{
	asio::error_code ignored;

	socket_.close(ignored);
	server_.forget(shared_from_this());
}

void Server::listen()
{
	asio::error_code error;

	acceptor_.open(endpoint_.protocol());
	acceptor_.set_option(tcp::acceptor::reuse_address(true));
	acceptor_.bind(endpoint_, error);
	if (!error)
		acceptor_.listen(4096, error);
	if (getenv(successor))
		kill(getppid(), SIGTERM);
	unsetenv(successor);
	if (!error) {
		std::cerr << "pid " << getpid() << " listens\n";
		return accept();
	}
	acceptor_.close();
	if (++tries_ == 1)
		std::cerr << "pid " << getpid() << " waits for its port\n";
	if (error != asio::error::address_in_use || tries_ > tries_max) {
		std::cerr << "asio: bind: " << error.message() << "\n";
		std::exit(1);
	}
	timer_.expires_after(retry_every);
	timer_.async_wait([this](const asio::error_code &stopped) {
		if (!stopped)
			listen();
	});
}

void Server::accept()
{
	acceptor_.async_accept([this](const asio::error_code &error, tcp::socket socket) {
		if (!error) {
			auto connection = std::make_shared<Connection>(std::move(socket), *this);
			connections_.insert(connection);
			connection->read();
		}
		if (acceptor_.is_open())
			accept();
		else
			end_if_idle();
	});
}

void Server::wait_for_signal()
{
	signals_.async_wait([this](const asio::error_code &error, int number) {
		if (error)
			return;
		if (number == SIGUSR2)
			start_successor();
		else
			begin_drain();
		wait_for_signal();
	});
}

void Server::start_successor()
{
	io_.notify_fork(asio::io_context::fork_prepare);
	if (fork() != 0) {
		io_.notify_fork(asio::io_context::fork_parent);
		return;
	}
	// Asio's descriptors outlive an exec: with the acceptor among them no bind would ever
	// succeed.
	close_range(3, ~0U, 0);
	setenv(successor, "1", 1);
	execv(argv_[0], argv_);
	_exit(127);
}

void Server::begin_drain()
{
	if (draining_)
		return;
	draining_ = true;
	acceptor_.close();
	timer_.expires_after(first_grace);
	timer_.async_wait([this](const asio::error_code &stopped) {
		for (auto &each : std::set(connections_))
			if (!stopped)
				each->drain(true);
	});
	for (auto &each : std::set(connections_))
		each->drain(false);
	end_if_idle();
}

// What was accepted at the last moment is with its handler first.
void Server::end_if_idle()
{
	if (draining_)
		asio::post(io_, [this] {
			if (connections_.empty())
				io_.stop();
		});
}

} // namespace

int main(int argc, char **argv)
{
	if (argc != 2) {
		std::cerr << "usage: asio PORT\n";
		return 2;
	}
	asio::io_context io(1);
	Server server(io, static_cast<uint16_t>(atoi(argv[1])), argv);
	io.run();
	return 0;
}
