"""A DNS server with health checks, for a proxy that has none: a name's addresses are the containers that answer.

    health_checks.py app:8000/healthz waf:8081/nginx-health      environment: SERVER_NAMES (its first is the Host, default localhost)

Once a second it asks the engine's DNS for the addresses of each name, and each address for its path. nginx asks this server every
2 s (`resolver ... valid=1s`), so a container that hangs gets its last request after 5 s, and one that answers again its first.
When this server does not answer, nginx keeps its last list.
"""

import asyncio
import os
import re
import sys
from contextlib import closing
from dataclasses import dataclass, field

from dns import asyncresolver, message, rcode, rdatatype, resolver, rrset
from dns.exception import DNSException

DNS_PORT = 8053
INTERVAL_S = 1.0
TIMEOUT_S = 2.0  # for one answer; while a container hangs, a round takes this long
# As a visitor over TLS would ask, or an application that checks its hosts or insists on https would refuse it.
HOST = (os.environ.get("SERVER_NAMES") or "localhost").split()[0].replace("*", "www").lstrip(".")
REQUEST = f"GET {{}} HTTP/1.1\r\nHost: {HOST}\r\nX-Forwarded-Proto: https\r\nUser-Agent: health-check\r\nConnection: close\r\n\r\n"


async def status(address: str, port: int, path: str) -> str:
    """GET `path` and return the answer's status; "" when the connection is refused or broken, "silent" when nothing comes in time."""
    try:
        async with asyncio.timeout(TIMEOUT_S):
            reader, writer = await asyncio.open_connection(address, port)
            with closing(writer):
                writer.write(REQUEST.format(path).encode())
                line = await reader.readline()
                while await reader.read(65536):
                    pass  # to the end: the application logs a client that closes in the middle
    except TimeoutError:
        return "silent"
    except (OSError, ValueError):  # ValueError: a first line without an end
        return ""
    return line.decode("latin-1").partition(" ")[2][:3]


@dataclass(slots=True)
class Service:
    """A name, and the containers that have it."""

    name: str
    port: int
    path: str
    listed: list[str] = field(default_factory=list)  # what the engine's DNS names
    seen: set[str] = field(default_factory=set)  # those of them that have answered once; the others are still starting
    rotation: list[str] | None = None  # None: not known yet
    overload: int = 0  # how many silent ones stay in rotation

    @classmethod
    def parse(cls, text: str) -> "Service":
        parts = re.fullmatch(r"([a-z0-9][a-z0-9_.-]*):([1-9][0-9]{1,4})(/[!-~]*)", text)
        if not parts:
            raise ValueError(f"{text!r}: expected NAME:PORT/PATH, such as app:8000/healthz")
        return cls(parts[1], int(parts[2]), parts[3])

    async def check(self) -> None:
        """Run one round: which containers are there, which answer, which get requests."""
        exists = await self.find()
        if exists and not self.listed:
            return  # the engine's DNS has not answered yet
        statuses = await asyncio.gather(*(status(address, self.port, self.path) for address in self.listed))
        healthy, silent = ({self.listed[n] for n, said in enumerate(statuses) if said == wanted} for wanted in ("200", "silent"))
        self.choose(healthy, silent, exists=exists)

    async def find(self) -> bool:
        """Update `listed`; return False when the name does not exist. Without an answer everything stays as it was."""
        try:
            answer = await asyncresolver.resolve(f"{self.name}.", "A", lifetime=TIMEOUT_S)
        except resolver.LifetimeTimeout:
            return True
        except DNSException:  # in an internal network Docker says SERVFAIL for a name that nobody has
            return False
        self.listed = sorted(str(record) for record in answer)
        return True

    def choose(self, healthy: set[str], silent: set[str], *, exists: bool = True) -> None:
        """Set `rotation`, given the containers that answered with 200 and those that said nothing."""
        self.seen = (self.seen & set(self.listed)) | healthy
        silent &= self.seen
        overload = len(silent) if len(silent) > len(healthy) > 0 else 0
        chosen = healthy | silent if overload else healthy  # an overload rather than a fault: the few that answer could not take it all
        if not healthy:
            chosen = self.seen or set(self.listed)  # one of them may answer in a moment, and nobody else will
        if not exists:
            chosen = healthy  # DNS no longer has the name: no other will come back
        if overload and overload != self.overload:
            print(f"{self.name}: {overload} do not answer and {len(healthy)} do, so all are in rotation")
        self.overload = overload
        for address in self.listed:
            if (address in chosen) != (address in (self.rotation or ())):
                refused = f"does not answer GET {self.path} with 200 within {TIMEOUT_S:g} s: out of rotation"
                print(f"{address}:{self.port} {'is in rotation' if address in chosen else refused}")
        self.rotation = sorted(chosen)

    async def watch(self) -> None:
        while True:
            await asyncio.gather(self.check(), asyncio.sleep(INTERVAL_S))


class Server(asyncio.DatagramProtocol):
    """Answers questions for the services' names."""

    def __init__(self, services: list[Service]) -> None:
        self.services = {service.name: service for service in services}

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self.transport = transport

    def datagram_received(self, data: bytes, peer: tuple[str, int]) -> None:
        try:
            query = message.from_wire(data)
            reply = message.make_response(query)
        except DNSException:
            return  # not a question
        for question in query.question:
            service = self.services.get(question.name.to_text(omit_final_dot=True).lower())
            if service is None:
                reply.set_rcode(rcode.REFUSED)
            elif service.rotation is None:
                reply.set_rcode(rcode.SERVFAIL)  # nginx keeps its list
            elif not service.rotation:
                reply.set_rcode(rcode.NXDOMAIN)  # nginx empties its list
            elif question.rdtype == rdatatype.A:
                reply.answer.append(rrset.from_text_list(question.name, int(INTERVAL_S), "IN", "A", service.rotation))
        self.transport.sendto(reply.to_wire(), peer)


async def serve(services: list[Service]) -> None:
    # The first answer comes after the first round, so that a restart does not name those again that hang.
    await asyncio.gather(*(service.check() for service in services))
    await asyncio.get_running_loop().create_datagram_endpoint(lambda: Server(services), ("0.0.0.0", DNS_PORT))  # noqa: S104
    async with asyncio.TaskGroup() as group:  # a failure ends the program, and the engine starts it again
        for service in services:
            group.create_task(service.watch())


if __name__ == "__main__":
    try:
        wanted = [Service.parse(text) for text in sys.argv[1:] or [""]]
    except ValueError as error:
        sys.exit(f"health-checks: {error}")
    asyncio.run(serve(wanted))
