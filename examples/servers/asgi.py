# An ASGI application for uvicorn and hypercorn behind baton; see docs/servers.md. Run as one of
#
#	uvicorn --fd {fd} asgi:app                                  (mode inherit)
#	uvicorn --host 127.0.0.1 --port 8080 asgi:app               (mode transparent)
#	python3 -m hypercorn -b fd://{fd} asgi:app                  (mode inherit)
#	python3 -m hypercorn -b 127.0.0.1:8080 asgi:app             (mode transparent)
import os


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            kind = (await receive())["type"]
            await send({"type": f"{kind}.complete"})
            if kind == "lifespan.shutdown":
                return
    while (await receive()).get("more_body"):
        pass
    body = f"generation {os.environ.get('GENERATION')} pid {os.getpid()}\n".encode()
    await send({"type": "http.response.start", "status": 200,
                "headers": [(b"content-type", b"text/plain"),
                            (b"content-length", str(len(body)).encode())]})
    await send({"type": "http.response.body", "body": body})
