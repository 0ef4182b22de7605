"""The planted server as a server under test: a second adapter, which shows that the comparison knows nothing of gunicorn."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx

from loadtest.measure.generation import GeneratorProcess
from loadtest.measure.runner import Progress, Run
from loadtest.measure.servers import Reading, Server, ServerError
from loadtest.measure.slicing import Bench
from loadtest.measure.usage import ProcessMeter
from loadtest.records.model import Candidate, Limits, Manifest, Pace, Workload
from loadtest.records.slices import Usage
from loadtest.records.store import Store
from tests.loadtest.synthetic import manifest

HERE = Path(__file__).parent
VISITORS = str(HERE / "visitors.py")
# Other tests share this machine: what it does is no part of these, what the generator does is.
TOLERANT = Limits(
    steal_share=1.0, others_cpu_share=99.0, idle_cpu_share=99.0, slip_share_of_slo=5.0, generator_cpu_share=5.0, gateway_cpu_share=99.0
)
PACE = Pace(minutes=9.0, blocks=3, rounds=2, slice_s=0.4, longest_slice_s=0.4, fewest_requests=1, settle_s=0.1, warm_up_s=0.1)


class PlantedServer:
    """`before`: called with the candidate's name and the number of its processes so far; a test can break a run there."""

    def __init__(self, candidate: Candidate, before: Callable[[str, int], None]) -> None:
        self._candidate, self._before, self.starts = candidate, before, 0
        self.process: subprocess.Popen[str] | None = None
        self.renew()

    @property
    def null_url(self) -> str | None:
        return f"{self.url}/null"

    def renew(self) -> None:
        self.stop()
        self._before(self._candidate.name, self.starts)
        self.starts += 1
        environment = {**os.environ, **self._candidate.settings}
        command = [sys.executable, str(HERE / "planted_server.py")]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        line = self.process.stdout.readline() if self.process.stdout else ""
        if not line:
            raise ServerError(f"{self._candidate.name} does not start")
        self.url = f"http://127.0.0.1:{int(line)}"
        self._meter = ProcessMeter(self.process.pid)

    def proof(self) -> dict[str, Any]:
        said: dict[str, Any] = httpx.get(f"{self.url}/lab/process").json()
        return said

    def look(self) -> None:
        if self.process and self.process.poll() is not None:
            raise ServerError(f"{self._candidate.name}: its processes have ended")

    def read(self) -> Reading:
        self.look()
        return Reading(server=self._meter.read(), gateway=Usage(cpu_ns=0), rest=Usage(cpu_ns=0))

    def cpu_ns(self) -> int | None:
        self.look()
        return self._meter.cpu_ns()

    def memory_bytes(self) -> int | None:
        return self._meter.memory_bytes()

    def stop(self) -> None:
        if self.process:
            self.process.terminate()
            self.process.communicate(timeout=10)


@dataclass
class PlantedServers:
    before: Callable[[str, int], None] = lambda *_: None
    runtime: str = "planted"
    cpus: Sequence[int] = ()
    running: list[PlantedServer] = field(default_factory=list)

    def start(self, candidate: Candidate) -> Server:
        self.running.append(PlantedServer(candidate, self.before))
        return self.running[-1]

    def close(self) -> None:
        for server in self.running:
            server.stop()


def candidate(name: str, work_ms: float, **settings: str) -> Candidate:
    return Candidate(
        name=name, title=name, simplicity=1, slots=1, settings={"WORK_MS": str(work_ms), **settings}, expect={"worker_class": "planted"}
    )


def workload(user: str = "Visitor", slo_ms: float = 150.0) -> Workload:
    return Workload(name="planted", title="t", question="q", users=((VISITORS, user, 1.0),), judged="hello", slo_ms=slo_ms)


def plan(candidates: Sequence[Candidate], work: Workload | None = None, **changes: Any) -> Manifest:
    """Return a plan of short slices; `changes`: of its pace."""
    made = manifest(("sync",), ("hello",), pace=replace(PACE, **changes), limits=TOLERANT)
    return replace(made, candidates=tuple(candidates), workloads=(work or workload(),), baseline=candidates[0].name)


def measure(folder: Path, servers: PlantedServers, made: Manifest, generators: GeneratorProcess) -> tuple[Store, list[Progress]]:
    """Measure a plan; returns its files and its progress."""
    store, progress = Store.create(folder, made), list[Progress]()
    try:
        bench = Bench(made, {one.name: servers.start(one) for one in made.candidates}, generators)
        Run(bench, store, print, progress.append).measure()
    finally:
        servers.close()
    return store, progress
