# A WSGI application for gunicorn behind baton; see docs/servers.md. Run as one of
#
#	gunicorn -w 2 -k gthread --threads 16 app:app                                (mode inherit)
#	gunicorn -w 2 -k gthread --threads 16 -b 127.0.0.1:8080 --reuse-port app:app (mode native)
#	gunicorn -w 2 -k gthread --threads 16 -b 127.0.0.1:8080 app:app              (mode transparent)
import os


def app(environ, start_response):
    environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    body = f"generation {os.environ.get('GENERATION')} pid {os.getpid()}\n".encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
