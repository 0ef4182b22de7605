"""A real server whose truth is planted by its environment: how long it works, whether its answers are right, whether it stalls.

WORK_MS: time in which it does nothing else, for each request (its capacity is 1000/WORK_MS). ERRORS=1: answers 500 at once.
Prints its port. GET /lab/process says what it is; GET /null answers without work.
"""

import asyncio
import json
import os
import time

from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler

WORK_S = float(os.environ["WORK_MS"]) / 1e3


class Hello(RequestHandler):
    def get(self) -> None:
        if os.environ.get("ERRORS"):
            self.set_status(500)
            return
        time.sleep(WORK_S)  # holds the only thread, and leaves the processor to the generator
        self.write(b"hello\n")


class Null(RequestHandler):
    def get(self) -> None:
        self.write(b"ok\n")


class Process(RequestHandler):
    def get(self) -> None:
        self.write(json.dumps({"worker_class": "planted", "pid": os.getpid(), "slots_per_process": 1}))


async def main() -> None:
    sockets = bind_sockets(0, "127.0.0.1", backlog=2048)
    routes = [("/", Hello), ("/null", Null), ("/lab/process", Process)]
    HTTPServer(Application(routes, log_function=lambda _: None)).add_sockets(sockets)
    print(sockets[0].getsockname()[1], flush=True)
    await asyncio.Event().wait()


asyncio.run(main())
