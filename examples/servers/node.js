// A node server behind baton; see docs/servers.md.
//
// With "environment": {"FD": "{fd}"} it takes the socket that is passed to it (mode inherit), else
// it binds the address itself (mode transparent).
const http = require("http");

let draining = false;
const server = http.createServer((request, response) => {
	request.resume().on("end", () => {
		// A connection that is kept alive would be used again and again, and never end.
		if (draining)
			response.setHeader("Connection", "close");
		response.end(`pid ${process.pid}\n`);
	});
});

// node has no drain of its own: stop listening, finish what is under way; then nothing keeps the
// process alive.
process.on("SIGTERM", () => {
	draining = true;
	server.close();
	server.closeIdleConnections();
});

server.listen(process.env.FD ? { fd: Number(process.env.FD) } : { host: "127.0.0.1", port: 8080 });
