"""What a run leaves behind, as frozen records with units in their names. They are written as JSON and never changed.

A run has one Manifest, written before the first measured request, and one Cell for each (workload, candidate, block, kind).
A cell says what was seen, never whether it is believed or what it means: that is judged from the files, each time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Annotated, Any, Literal, dataclass_transform

from pydantic import BeforeValidator, ConfigDict, Field

from loadtest.records.recording import Recording

FORMAT = 2

Kind = Literal["knee", "rates"]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,40}$")]  # files are named after it
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
# (locustfile, "" for the kit's own; user class; share). By hand {class = share}.
Users = Annotated[
    tuple[tuple[str, str, Positive], ...],
    BeforeValidator(lambda value: [("", name, share) for name, share in value.items()] if isinstance(value, dict) else value),
]


@dataclass_transform(frozen_default=True, kw_only_default=True)
def record(cls: type) -> Any:
    """Make a frozen record that takes no field it does not know: a misspelt one would be lost in silence."""
    cls.__pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[attr-defined]
    return dataclass(frozen=True, kw_only=True)(cls)


@record
class Candidate:
    """A server and how it is set. `slots`: requests it can work on at once, all processes together; 0: no bound of its own.

    `simplicity`: the lower is taken when there is no difference. `settings`: environment of the server under test.
    `expect`: what the server must say of itself (GET /lab/process) before it is measured. `on_request`: only when it is named.
    """

    name: Name
    title: str
    simplicity: int
    slots: Annotated[int, Field(ge=0)]
    settings: dict[str, str]
    expect: dict[str, Any] = field(default_factory=dict)
    note: str = ""
    on_request: bool = False


@record
class Workload:
    """What visitors do, and what counts as good. `judged`: the name of the requests whose p99 must stay below `slo_ms`.

    `background`: (locustfile, user class, visitors) that are there all the time and are not measured.
    `service_ms`: time a request takes in an idle server at least, when it is known; for the check of plausibility.
    """

    name: Name
    title: str
    question: str
    users: Annotated[Users, Field(min_length=1)]
    judged: str
    slo_ms: Positive
    background: Users = ()
    service_ms: float = 0.0
    max_rate_per_s: Positive = 4000.0


@record
class Machine:
    """Where it was measured."""

    cpu_model: str
    cpus: int
    cpu_quota: float | None  # cores; None: no quota
    memory_bytes: int
    kernel: str
    system: str
    python: str
    versions: dict[str, str]
    git_commit: str
    runtime: str
    one_machine: bool = True  # generator and server share it


@record
class Calibration:
    """What the generator itself costs, against a gateway that answers by itself, on the same path. One entry for each rate."""

    rate_per_s: float
    p50_ms: float
    p99_ms: float
    slip_p99_ms: float
    generator_cpu_share: float
    achieved_share: float


@record
class Limits:
    """When a figure is not believed. The values stand in the manifest because a verdict depends on them."""

    generator_cpu_share: float = 0.7
    slip_share_of_slo: float = 0.1
    steal_share: float = 0.05  # as much as the margin: a virtual machine is never without any
    throttled_share: float = 0.02
    gateway_cpu_share: float = 0.7
    others_cpu_share: float = 0.25
    idle_cpu_share: float = 0.05  # of a core, by all candidates that have nothing to do
    error_share: float = 0.001
    achieved_share: float = 0.98


@record
class Pace:
    """How long what takes, in seconds.

    `steps`: at most so many in a search for a knee; `known_steps`: where an earlier block tells about where it is.
    `rate_blocks`: in so many blocks the common rates are measured as well.
    """

    step_s: float
    warm_up_s: float
    warm_up_at_most_s: float
    between_s: float
    steps: int
    known_steps: int
    rate_blocks: int
    minutes: float = 0.0
    blocks: int = 0
    slice_s: float = 0.0
    longest_slice_s: float = 0.0
    fewest_requests: int = 0
    settle_s: float = 0.0


@record
class Manifest:
    """What was decided before the run. `rates`: shares of the weakest candidate's knee at which all are compared.

    `settings`: environment of every server, below the candidates' own.
    """

    format: int = FORMAT
    run: str
    created: str
    command: str
    profile: str
    gives_verdict: bool
    synthetic: bool = False
    seed: int
    sees: float | None = None
    blocks: int
    baseline: str
    margin: float
    confidence: float
    rates: tuple[float, ...]
    pace: Pace
    settings: dict[str, str] = field(default_factory=dict)
    candidates: tuple[Candidate, ...]
    workloads: tuple[Workload, ...]
    limits: Limits
    machine: Machine
    calibration: tuple[Calibration, ...] = ()
    order: tuple[tuple[str, ...], ...] = ()  # for each block the candidates as they were run


@record
class Usage:
    """What a part of the system under test used while a step was measured. None: could not be read here."""

    cpu_s: float | None = None
    memory_bytes: int | None = None
    throttled_s: float | None = None
    processes: int | None = None

    def since(self, first: Usage) -> Usage:
        """Return what was used from `first` to this reading; memory and processes are those of this one."""
        return replace(self, cpu_s=difference(first.cpu_s, self.cpu_s), throttled_s=difference(first.throttled_s, self.throttled_s))

    @classmethod
    def total(cls, parts: Sequence[Usage]) -> Usage:
        """Return the sum of what several containers or processes used; None where one of them could not be read."""
        columns = {one.name: [getattr(part, one.name) for part in parts] for one in fields(cls)}
        return cls(**{name: sum(column) if column and None not in column else None for name, column in columns.items()})


def difference(first: float | None, last: float | None) -> float | None:
    """Return how much a counter went up; None where one of the readings is missing."""
    return None if first is None or last is None else max(last - first, 0.0)


@record
class Step:
    """One rate, held for `duration_s`. `load`: share of the weakest knee, None while the knee is searched.

    `in_flight_mean`: visitors on their way, sampled.
    """

    load: float | None = None
    rate_per_s: float
    duration_s: float
    warm_up_s: float
    settled: bool
    recording: Recording
    generator_cpu_share: float
    in_flight_mean: float
    server: Usage
    gateway: Usage
    steal_share: float | None = None
    others_cpu_share: float | None = None


@record
class Cell:
    """One candidate under one workload in one block. `proof`: what the server said of itself."""

    format: int = FORMAT
    workload: str
    candidate: str
    block: int
    kind: Kind
    attempt: int = 1
    started: str
    proof: dict[str, Any]
    steps: tuple[Step, ...]
