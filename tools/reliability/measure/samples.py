"""What the containers of a stack hold at one moment, read from outside: it costs them nothing and needs nothing in them."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime

import psutil

from loadtest.measure.usage import held_memory
from tools.reliability.judge.growth import held, leaks
from tools.reliability.records import Counts, Sample
from tools.stack import StackError
from tools.stack.compose import ORDER, docker

_FACTS = '{{.Id}} {{.State.Pid}} {{.State.StartedAt}} {{index .Config.Labels "com.docker.compose.service"}}'
# What PostgreSQL calls a process that serves one connection of the app: "postgres: kit kit 172.18.0.5(40312) idle".
_BACKEND = "postgres: kit kit "
SAMPLE_EVERY_S = 5.0
# After the load: what was open has ended, idle connections too (nginx's end after 1 s).
REST_S = 60.0
# Readings in a row, a second apart, that are alike: nothing moves any more. nginx lets go of its connections within 5 s of the load.
CALM = 6


def read_stack(name: str, at_s: float = 0.0) -> list[Sample]:
    """Return a sample of each container of a Compose project that serves; StackError when the engine or the kernel does not tell."""
    label = "label=com.docker.compose"
    containers = docker("ps", "--no-trunc", "--quiet", "--filter", f"{label}.project={name}", "--filter", f"{label}.oneoff=False").split()
    facts = docker("inspect", "--format", _FACTS, *containers).splitlines() if containers else []
    try:
        return list(_samples(facts, at_s))
    except psutil.AccessDenied:
        raise StackError("only root may see what the processes of a container have open", hint="run this as root") from None


def _samples(facts: list[str], at_s: float) -> Iterator[Sample]:
    now = datetime.now(UTC)
    for container, pid, started, service in map(str.split, facts):
        if service in ORDER and pid != "0":
            # One that ends at this moment is left out; what /proc says of it is one of several errors.
            with suppress(psutil.NoSuchProcess, OSError):
                parent = psutil.Process(int(pid))
                # By parentage and not by control group: that also holds the health check's processes, which come and go.
                tree = [parent, *parent.children(recursive=True)]
                serving = [one for one in tree if service != "database" or not " ".join(one.cmdline()).startswith(_BACKEND)]
                files, age_s = sum(one.num_fds() for one in serving), (now - datetime.fromisoformat(started)).total_seconds()
                heap_bytes = held_memory(parent.pid)[1]
                yield Sample(at_s, age_s, service, container[:12], heap_bytes, len(serving), files, len(tree) - len(serving))


@contextmanager
def sampling(name: str, samples: list[Sample]) -> Iterator[None]:
    """Read a stack every few seconds while the block runs, and add what is seen."""
    done, began_s = threading.Event(), time.monotonic()

    def sample() -> None:
        while not done.wait(SAMPLE_EVERY_S):
            with suppress(StackError):  # Ctrl-C reaches the engine's client too
                samples.extend(read_stack(name, time.monotonic() - began_s))

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def at_rest(name: str, wanted: Counts | None = None) -> Counts:
    """Return what is held once nothing moves any more, or, with `wanted`, once it is no more than that. At the latest after REST_S."""
    until_s = time.monotonic() + REST_S
    readings: list[Counts] = []
    while True:
        readings.append(held(read_stack(name)))
        calm = len(readings) >= CALM and all(one == readings[-1] for one in readings[-CALM:])
        if time.monotonic() > until_s or (calm if wanted is None else not leaks(wanted, readings[-1])):
            return readings[-1]
        time.sleep(1)
