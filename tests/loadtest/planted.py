"""The planted server as a server under test: a second adapter, which shows that the comparison knows nothing of gunicorn."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx

from loadtest.judge.steps import JudgedCell
from loadtest.measure.generation import GeneratorProcess
from loadtest.measure.kit import process_usage
from loadtest.measure.runner import Progress, run
from loadtest.measure.servers import Reading, Server, ServerError
from loadtest.measure.trial import Bench
from loadtest.plan import order_of
from loadtest.records.model import Candidate, Limits, Manifest, Pace, Usage, Workload
from loadtest.records.store import Store
from tests.loadtest.synthetic import manifest

HERE = Path(__file__).parent
Disbelieved = list[tuple[JudgedCell, bool]]  # the second: it is measured again
Measured = tuple[Store, list[Progress], Disbelieved]
VISITORS = str(HERE / "visitors.py")
# Other tests share this machine: what it does is no part of these, what the generator does is.
TOLERANT = Limits(steal_share=1.0, others_cpu_share=99.0, slip_share_of_slo=5.0, generator_cpu_share=5.0, gateway_cpu_share=99.0)


class PlantedServer:
    def __init__(self, pid: int, port: int) -> None:
        self._pid = pid
        self.url = f"http://127.0.0.1:{port}"
        self.null_url: str | None = f"{self.url}/null"

    def proof(self) -> dict[str, Any]:
        said: dict[str, Any] = httpx.get(f"{self.url}/lab/process").json()
        return said

    def read(self) -> Reading:
        return Reading(server=process_usage(self._pid), gateway=Usage(cpu_s=0.0), rest_cpu_s=0.0)


@dataclass
class PlantedServers:
    """`before`: called with the number of each start; a test can interrupt or break a run there."""

    before: Callable[[int], None] = lambda _: None
    runtime: str = "planted"
    cpus: Sequence[int] = ()
    starts: list[str] = field(default_factory=list)

    def versions(self) -> dict[str, str]:
        return {}

    def close(self) -> None:
        """Each start ended its own."""

    @contextmanager
    def start(self, candidate: Candidate) -> Iterator[Server]:
        self.starts.append(candidate.name)
        self.before(len(self.starts))
        process = subprocess.Popen(
            [sys.executable, str(HERE / "planted_server.py")], stdout=subprocess.PIPE, text=True, env={**os.environ, **candidate.settings}
        )
        try:
            line = process.stdout.readline() if process.stdout else ""
            if not line:
                raise ServerError(f"{candidate.name} does not start")
            yield PlantedServer(process.pid, int(line))
        finally:
            process.terminate()
            process.communicate(timeout=10)


def candidate(name: str, work_ms: float, **settings: str) -> Candidate:
    return Candidate(
        name=name, title=name, simplicity=1, slots=1, settings={"WORK_MS": str(work_ms), **settings}, expect={"worker_class": "planted"}
    )


def workload(user: str = "Visitor", slo_ms: float = 400.0) -> Workload:
    return Workload(name="planted", title="t", question="q", users=((VISITORS, user, 1.0),), judged="hello", slo_ms=slo_ms)


def plan(candidates: Sequence[Candidate], work: Workload | None = None, blocks: int = 1, **changes: Any) -> Manifest:
    """Return a plan of short steps; `changes`: of the manifest."""
    pace = Pace(step_s=0.4, warm_up_s=0.2, warm_up_at_most_s=0.2, between_s=0.1, steps=3, known_steps=2, rate_blocks=1)
    made = manifest(("sync",), ("hello",), blocks=blocks, pace=pace, limits=TOLERANT, rates=(0.5, 1.2), **changes)
    return replace(
        made,
        candidates=tuple(candidates),
        workloads=(work or workload(),),
        baseline=candidates[0].name,
        order=order_of(1, blocks, candidates),
    )


def measure(
    folder: Path, servers: PlantedServers, made: Manifest, generators: GeneratorProcess
) -> tuple[Store, list[Progress], Disbelieved]:
    """Run a plan, or what is left of it; returns its files, its progress and what it did not believe."""
    store = Store(folder) if folder.exists() else Store.create(folder, made)
    progress: list[Progress] = []
    told: Disbelieved = []
    run(Bench(store.manifest(), servers, generators), store, progress.append, lambda *one: told.append(one))
    return store, progress, told
