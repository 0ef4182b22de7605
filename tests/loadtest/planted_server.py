"""A real server whose truth is planted by its environment: how long it works, whether its answers are right, whether it stalls.

WORK_MS: time in which it does nothing else, for each request (its capacity is 1000/WORK_MS); CPU_MS: the same, computing. TAIL_MS: what
one of a hundred takes longer. TIRES_AFTER: so many requests, after which each takes twice as long. BUSY: share of a processor used
idle. ERRORS=1: answers 500 at once. DIES_AFTER: so many requests.
Prints its port. GET /lab/process says what it is; GET /null answers without work.
"""

import asyncio
import json
import os
import threading
import time
from itertools import count

from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler

WORK_S, CPU_S, TAIL_S = (float(os.environ.get(name, "0")) / 1e3 for name in ("WORK_MS", "CPU_MS", "TAIL_MS"))
TIRES_AFTER, BUSY = int(os.environ.get("TIRES_AFTER", "1000000000")), float(os.environ.get("BUSY", "0"))
REQUESTS = count(1)
LIVES = iter(range(int(os.environ.get("DIES_AFTER", "1000000000"))))


def compute(cpu_s: float) -> None:
    until_s = time.thread_time() + cpu_s
    while time.thread_time() < until_s:
        pass


def fidget() -> None:
    while True:
        compute(BUSY * 0.02)
        time.sleep((1 - BUSY) * 0.02)


class Hello(RequestHandler):
    def get(self) -> None:
        if next(LIVES, None) is None:
            os._exit(1)
        if os.environ.get("ERRORS"):
            self.set_status(500)
            return
        number = next(REQUESTS)
        slower = 2 if number > TIRES_AFTER else 1
        compute(CPU_S * slower)
        # Holds the only thread, and leaves the processor to the generator.
        time.sleep(WORK_S * slower + (TAIL_S if number % 100 == 0 else 0.0))
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
    if BUSY:
        threading.Thread(target=fidget, daemon=True).start()
    print(sockets[0].getsockname()[1], flush=True)
    await asyncio.Event().wait()


asyncio.run(main())
