"""The load in a process of its own, so that what the injections cost is not counted as the server's.

`python -m tools.reliability.load` reads its order (JSON) from the first line of stdin, sends until stdin ends, and writes what it saw
to a file. Times are readings of the monotonic clock, which all processes of a machine share.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import psutil

ROOT = Path(__file__).resolve().parents[2]
# After the end of the load: longer than the gateway waits for an answer.
LAST_ANSWER_S = 45.0


class Request(NamedTuple):
    """One request. Times: monotonic seconds, latency counts from `due_s`. `error`: its kind, "" for the right answer."""

    name: str
    due_s: float
    ended_s: float
    error: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the load saw: requests, ledger lines (key, status, error), arrivals that the generator had to drop."""

    started_s: float
    stopped_s: float
    requests: list[Request]
    writes: list[tuple[str, int, str]]
    offered: int
    dropped: int
    problems: dict[str, int]

    @property
    def failed(self) -> list[Request]:
        """All requests that did not get the right answer."""
        return [request for request in self.requests if request.error]


class Load:
    """An open-model load on `url` while the block runs; afterwards `outcome` holds what it saw."""

    def __init__(
        self,
        url: str,
        folder: Path,
        *,
        rate_per_s: float,
        mix: dict[str, float] | None = None,
        seed: int = 1,
        cpus: Sequence[int] = (),
    ) -> None:
        """`cpus`: processors to run on; empty: any."""
        self._out = folder / f"load-{time.monotonic_ns()}.json"
        mix = mix or {"reader": 1, "writer": 1}
        self._order = {"url": url, "rate_per_s": rate_per_s, "mix": mix, "seed": seed, "cpus": list(cpus), "out": str(self._out)}
        self._process: subprocess.Popen[str] | None = None
        self.outcome: Outcome | None = None

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "tools.reliability.load"]
        # A session of its own: Ctrl-C is for the one who started the load, and that one ends it.
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True, start_new_session=True)
        assert self._process.stdin is not None  # noqa: S101 - it is a pipe
        assert self._process.stdout is not None  # noqa: S101 - it is a pipe
        self._process.stdin.write(json.dumps(self._order) + "\n")
        self._process.stdin.flush()
        if self._process.stdout.readline().strip() != "sending":
            raise RuntimeError("the load did not start; what it said is above")
        return self

    def __exit__(self, kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None) -> None:
        process = self._process
        assert process is not None  # noqa: S101 - entered
        if kind is not None:
            process.kill()
        process.communicate(timeout=LAST_ANSWER_S + 60)
        if kind is None:
            self.outcome = read_outcome(self._out)

    def sent_for(self, duration_s: float) -> Callable[[], bool]:
        """Return a condition that holds once the load has run for so long from now on."""
        until_s = time.monotonic() + duration_s
        return lambda: time.monotonic() > until_s

    def result(self) -> Outcome:
        """Return what the load saw; the block must have ended."""
        if self.outcome is None:
            raise RuntimeError("the load still runs")
        return self.outcome


def read_outcome(path: Path) -> Outcome:
    """Read what the process wrote."""
    data = json.loads(path.read_text())
    requests = [Request(*row) for row in data.pop("requests")]
    writes = [(str(key), int(status), str(error)) for key, status, error in data.pop("writes")]
    return Outcome(requests=requests, writes=writes, **data)


def main() -> None:
    """Send until stdin ends."""
    # Here and not above: importing locust patches the socket module of whoever imports this.
    import gevent
    from gevent.fileobject import FileObjectThread
    from locust.env import Environment

    from loadtest.open_model import OpenModelUser, listen
    from loadtest.recorder import Recorder
    from tools.reliability.visitors import KINDS, Writer

    class Timeline(Recorder):
        """A recorder that also keeps each request with its moment."""

        def __init__(self) -> None:
            super().__init__()
            self.rows: list[Request] = []

        def answer(self, name: str, intended_s: float, sent_s: float, ended_s: float, error: str | None, *, planned: bool) -> None:
            super().answer(name, intended_s, sent_s, ended_s, error, planned=planned)
            self.rows.append(Request(name, intended_s, ended_s, error or ""))

    orders = FileObjectThread(sys.stdin.fileno(), "rb")
    order = json.loads(orders.readline())
    if order["cpus"]:
        psutil.Process().cpu_affinity(order["cpus"])
    environment, recorder = Environment(host=order["url"]), Timeline()
    environment.recorder = recorder  # type: ignore[attr-defined]
    listen(environment, recorder)
    mix = {KINDS[name]: share for name, share in order["mix"].items()}
    settings = {"mix": mix, "rate_per_s": order["rate_per_s"], "seed": order["seed"]}
    arrivals: OpenModelUser = type("Arrivals", (OpenModelUser,), settings)(environment)
    started_s = time.perf_counter()
    sending = gevent.spawn(arrivals.arrive)
    print("sending", flush=True)
    orders.read()
    stopped_s = time.perf_counter()
    arrivals.until_s = stopped_s
    sending.join()
    arrivals.finish(LAST_ANSWER_S)
    seen = recorder.recording(stopped_s - started_s)
    Path(order["out"]).write_text(
        json.dumps(
            {
                "started_s": started_s,
                "stopped_s": stopped_s,
                "requests": recorder.rows,
                "writes": Writer.ledger,
                "offered": seen.offered,
                "dropped": seen.dropped,
                "problems": seen.errors,
            }
        )
    )


if __name__ == "__main__":
    main()
