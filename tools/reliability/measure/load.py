"""The load in a process of its own, so that what the injections cost is not counted as the server's.

`python -m tools.reliability.measure.load ORDER` (JSON) sends until stdin ends, and then prints what it saw (JSON). Times are readings of
the monotonic clock, which all processes of a machine share.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil
from pydantic import TypeAdapter

from tools.reliability.records import LoadResult, Request

ROOT = Path(__file__).resolve().parents[3]
_RESULT: TypeAdapter[LoadResult] = TypeAdapter(LoadResult)
# After the end of the load: longer than the gateway waits for an answer.
LAST_ANSWER_S = 45.0
MIX = {"reader": 1.0, "writer": 1.0}  # visitors and their shares, when nothing else is asked for


class Load:
    """An open-model load on `url` while the block runs; afterwards `result()` tells what it saw.

    `cpus`: processors to run on; empty: any. `keep_alive`: visitors keep their connections from request to request.
    """

    def __init__(self, url: str, *, rate_per_s: float, mix: Mapping[str, float] = MIX, seed: int = 1, **settings: Any) -> None:
        self._order = {"url": url, "rate_per_s": rate_per_s, "mix": dict(mix), "seed": seed, "cpus": (), "keep_alive": False, **settings}
        self._result: LoadResult | None = None

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "tools.reliability.measure.load", json.dumps(self._order)]
        # A session of its own: Ctrl-C is for the parent, which ends the load.
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True, start_new_session=True)
        if not self._process.stdout or self._process.stdout.readline().strip() != "sending":
            raise RuntimeError("the load did not start; what it said is above")
        return self

    def __exit__(self, kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None) -> None:
        if kind is not None:
            self._process.kill()
        answer, _ = self._process.communicate(timeout=LAST_ANSWER_S + 60)
        if kind is None:
            self._result = _RESULT.validate_json(answer)

    def sent_for(self, duration_s: float) -> Callable[[], bool]:
        """Return a condition that holds once the load has run for so long from now on."""
        until_s = time.monotonic() + duration_s
        return lambda: time.monotonic() > until_s

    def result(self) -> LoadResult:
        """Return what the load saw; the block must have ended."""
        if self._result is None:
            raise RuntimeError("the load still runs")
        return self._result


def main() -> None:
    # Here and not above: importing locust patches the socket module of whoever imports this.
    import gevent
    from gevent.fileobject import FileObjectThread
    from locust.env import Environment

    from loadtest.measure.open_model import OpenModelUser, listen
    from loadtest.measure.recorder import Recorder
    from tools.reliability.measure.visitors import KINDS, Strict, Writer

    class Timeline(Recorder):
        """A recorder that also keeps each request with its moment."""

        def __init__(self) -> None:
            super().__init__()
            self.rows: list[Request] = []

        def answer(self, name: str, intended_s: float, sent_s: float, ended_s: float, error: str | None, *, planned: bool) -> None:
            super().answer(name, intended_s, sent_s, ended_s, error, planned=planned)
            self.rows.append(Request(name, round(intended_s, 4), round(ended_s, 4), error or ""))

    order = json.loads(sys.argv[1])
    if order["cpus"]:
        psutil.Process().cpu_affinity(order["cpus"])
    Strict.keep_alive = order["keep_alive"]
    environment, recorder = Environment(host=order["url"]), Timeline()
    environment.recorder = recorder  # type: ignore[attr-defined]
    listen(environment, recorder)
    mix = {KINDS[name]: share for name, share in order["mix"].items()}
    settings = {"mix": mix, "rate_per_s": order["rate_per_s"], "seed": order["seed"]}
    arrivals: OpenModelUser = type("Arrivals", (OpenModelUser,), settings)(environment)
    started_s = time.perf_counter()
    sending = gevent.spawn(arrivals.arrive)
    print("sending", flush=True)
    FileObjectThread(sys.stdin.fileno(), "rb").read()
    stopped_s = time.perf_counter()
    arrivals.until_s = stopped_s
    sending.join()
    arrivals.finish(LAST_ANSWER_S)
    dropped = recorder.recording(stopped_s - started_s).dropped
    result = LoadResult(started_s=started_s, stopped_s=stopped_s, requests=recorder.rows, writes=Writer.ledger, dropped=dropped)
    print(_RESULT.dump_json(result).decode(), flush=True)


if __name__ == "__main__":
    main()
