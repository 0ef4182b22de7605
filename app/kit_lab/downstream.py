"""A slow HTTP service: it answers after the time it is asked to take.

    python -m kit_lab.downstream        (HOST, default 0.0.0.0; PORT, default 8001)

GET /wait?ms=50 waits, GET /healthz does not. One thread holds thousands of waits.
"""

import asyncio
import os
import signal

from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, HTTPError, RequestHandler

LONGEST_WAIT_MS = 10_000
LAST_PORT = 65_535


class Wait(RequestHandler):
    """GET /wait?ms=50."""

    async def get(self) -> None:
        """Answer after `ms` milliseconds; 400 when that is no number from 0 to the cap."""
        text = self.get_query_argument("ms", "50")
        if not (text.isascii() and text.isdigit() and int(text[:9]) <= LONGEST_WAIT_MS):
            raise HTTPError(400, reason=f"ms must be 0 to {LONGEST_WAIT_MS}")
        await asyncio.sleep(int(text[:9]) / 1000)
        self.write({"waited_ms": int(text[:9])})


class Health(RequestHandler):
    """GET /healthz."""

    def get(self) -> None:
        """Answer at once."""
        self.write({"status": "ok"})


async def serve(host: str, port: int) -> None:
    """Serve until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    server = HTTPServer(Application([("/wait", Wait), ("/healthz", Health)], log_function=lambda _handler: None))
    sockets = bind_sockets(port, host, backlog=4096)
    server.add_sockets(sockets)
    # With PORT=0 the system chose one.
    print(f"listening at http://{host}:{sockets[0].getsockname()[1]}", flush=True)
    await stop.wait()
    server.stop()


def main() -> None:
    """Read HOST and PORT, then serve."""
    host, port = os.environ.get("HOST") or "0.0.0.0", os.environ.get("PORT") or "8001"  # noqa: S104 - in a container, on a network of its own
    if not (port.isascii() and port.isdigit() and int(port) <= LAST_PORT):
        raise SystemExit(f"PORT: must be a number from 0 to {LAST_PORT}, not {port!r}")
    try:
        asyncio.run(serve(host, int(port)))
    except OSError as error:
        raise SystemExit(f"cannot listen on {host}:{port}: {error.strerror}") from None


if __name__ == "__main__":
    main()
