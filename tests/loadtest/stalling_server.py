"""A real server that stops once for two seconds, and remembers when.

    python stalling_server.py STALL_AT_REQUEST STALL_S      (prints its port)

GET / answers at once; while the stall lasts, nothing is answered. GET /record tells when it began and ended, and for
each request when it was due (?due=) and when it was answered. Times: the monotonic clock, which all processes share.
"""

import asyncio
import json
import sys
import time

from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler

RECORD: dict[str, float] = {"requests": 0}
ANSWERED: list[list[float]] = []


class Hello(RequestHandler):
    def get(self) -> None:
        RECORD["requests"] += 1
        if RECORD["requests"] == int(sys.argv[1]):
            RECORD["began_s"] = time.monotonic()
            time.sleep(float(sys.argv[2]))  # blocks the only thread: this is the stall
            RECORD["ended_s"] = time.monotonic()
        ANSWERED.append([float(self.get_argument("due", "nan")), time.monotonic()])
        self.write(b"hello\n")


class Record(RequestHandler):
    def get(self) -> None:
        self.write(json.dumps({**RECORD, "answered": ANSWERED}))


async def main() -> None:
    # A larger backlog than requests in a stall: a full one would add the kernel's retries to the truth.
    sockets = bind_sockets(0, "127.0.0.1", backlog=2048)
    HTTPServer(Application([("/", Hello), ("/record", Record)], log_function=lambda _: None)).add_sockets(sockets)
    print(sockets[0].getsockname()[1], flush=True)
    await asyncio.Event().wait()


asyncio.run(main())
