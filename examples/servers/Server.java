// A Java server behind baton; see docs/servers.md.
//
// Java makes an IPv6 socket of every address, bound to ::ffff:127.0.0.1 here. baton finds that out.
// With "environment": {"SHARE": "1"} it shares its port itself (mode native), else baton makes it
// (mode transparent).
import java.io.BufferedInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.net.InetSocketAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.net.SocketTimeoutException;
import java.net.StandardSocketOptions;
import java.nio.charset.StandardCharsets;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;

public class Server {
	static final int IDLE_GRACE_MS = 100;
	static volatile boolean draining;

	public static void main(String[] args) throws IOException {
		ExecutorService connections = Executors.newCachedThreadPool();
		ServerSocket listener = new ServerSocket();

		if (System.getenv("SHARE") != null)
			listener.setOption(StandardSocketOptions.SO_REUSEPORT, true);
		listener.bind(new InetSocketAddress("127.0.0.1", 8080), 4096);
		Runtime.getRuntime().addShutdownHook(new Thread(() -> drain(listener, connections)));
		while (!listener.isClosed()) {
			try {
				Socket socket = listener.accept();
				connections.execute(() -> serve(socket));
			} catch (IOException closed) {
				// drain() has closed it, and ends the program.
			}
		}
	}

	// SIGTERM: stop listening, finish what is under way, end with status 0.
	static void drain(ServerSocket listener, ExecutorService connections) {
		try {
			draining = true;
			listener.close();
			Thread.sleep(IDLE_GRACE_MS); // what was accepted just now is on its way to its thread
			connections.shutdown();
			connections.awaitTermination(1, TimeUnit.HOURS);
		} catch (IOException | InterruptedException impossible) {
			Runtime.getRuntime().halt(1);
		}
		Runtime.getRuntime().halt(0);
	}

	static void serve(Socket socket) {
		try (socket) {
			InputStream in = new BufferedInputStream(socket.getInputStream());

			socket.setSoTimeout(IDLE_GRACE_MS);
			while (answer(socket, in))
				;
		} catch (IOException gone) {
			// The client's business.
		}
	}

	// One request; false: there is none any more.
	static boolean answer(Socket socket, InputStream in) throws IOException {
		boolean close = false, again = false;
		int length = 0;
		String line;

		while ((line = read(in, again)) != null && !line.isEmpty()) {
			String lower = line.toLowerCase();

			again = true;
			close |= lower.startsWith("connection:") && lower.contains("close");
			if (lower.startsWith("content-length:"))
				length = Integer.parseInt(lower.substring(15).trim());
		}
		if (line == null)
			return false;
		for (int n = 0; n < length; n++)
			if (next(in, true) < 0)
				return false;
		// A connection that is kept alive would be used again and again, and never end.
		close |= draining;
		String body = "pid " + ProcessHandle.current().pid() + "\n";
		String head = "HTTP/1.1 200 OK\r\nContent-Length: " + body.length() + "\r\nConnection: "
			+ (close ? "close" : "keep-alive") + "\r\n\r\n";
		socket.getOutputStream().write((head + body).getBytes(StandardCharsets.US_ASCII));
		return !close;
	}

	static String read(InputStream in, boolean begun) throws IOException {
		StringBuilder line = new StringBuilder();

		for (int c; (c = next(in, begun || line.length() > 0)) != '\n'; ) {
			if (c < 0)
				return null;
			line.append((char) c);
		}
		return line.toString().trim();
	}

	// The next byte. An idle connection (nothing has @begun) is closed by and by when it drains.
	static int next(InputStream in, boolean begun) throws IOException {
		for (;;) {
			try {
				return in.read();
			} catch (SocketTimeoutException idle) {
				if (draining && !begun)
					return -1;
			}
		}
	}
}
