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

from loadtest.records import Candidate, Limits, Manifest, Usage, Workload
from loadtest.run.cells import Bench
from loadtest.run.kit import process_usage
from loadtest.run.plan import Profile, order_of
from loadtest.run.servers import Reading, Server, ServerError
from tests.loadtest.synthetic import manifest

HERE = Path(__file__).parent
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
        name=name,
        title=name,
        simplicity=1,
        slots=1,
        settings={"WORK_MS": str(work_ms), **settings},
        expect={"worker_class": "planted"},
    )


def workload(user: str = "Visitor", slo_ms: float = 400.0) -> Workload:
    return Workload(name="planted", title="t", question="q", users=((VISITORS, user, 1.0),), judged="hello", slo_ms=slo_ms)


def plan(candidates: Sequence[Candidate], work: Workload | None = None, blocks: int = 1, **changes: Any) -> tuple[Manifest, Profile]:
    """Return a plan of short steps; `changes`: of the manifest."""
    profile = Profile("planted", True, blocks, 0.6, 0.2, 0.4, 3, 1, (), start_s=1.0)
    made = manifest(("sync",), ("hello",), blocks=blocks, step_s=0.6, limits=TOLERANT, **changes)
    made = replace(
        made,
        candidates=tuple(candidates),
        workloads=(work or workload(),),
        baseline=candidates[0].name,
        order=order_of(1, blocks, candidates),
        rates=(0.5, 1.2),
    )
    return made, profile


def bench(servers: PlantedServers, made: Manifest, profile: Profile) -> Bench:
    return Bench(made, profile, servers)
