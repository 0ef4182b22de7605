"""What is decided before a run, as frozen records with units in their names. They are written as JSON and never changed.

A run has one Manifest, written before the first measured request; what is measured then is in records/slices.py.
"""

from dataclasses import dataclass, field
from typing import Annotated, Any, dataclass_transform

from pydantic import BeforeValidator, ConfigDict, Field

FORMAT = 3

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
    `origin`: the set-up that people come from with it, if `title` does not say it. `limit`: no site; shows what the others could reach.
    """

    name: Name
    title: str
    simplicity: int
    slots: Annotated[int, Field(ge=0)]
    settings: dict[str, str]
    expect: dict[str, Any] = field(default_factory=dict)
    note: str = ""
    on_request: bool = False
    origin: str = ""
    limit: bool = False


@record
class Workload:
    """What visitors do, and what counts as good. `judged`: the name of the requests whose p99 must stay below `slo_ms`.

    `background`: (locustfile, user class, visitors) that are there all the time and are not measured.
    `service_ms`: time a request takes in an idle server at least, when it is known; for the check of plausibility.
    `computes`: it does not wait for anything, so that the verdict may rest on processor time.
    """

    name: Name
    title: str
    question: str
    users: Annotated[Users, Field(min_length=1)]
    judged: str
    slo_ms: Positive
    background: Users = ()
    service_ms: float = 0.0
    computes: bool = False
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
    requests: int
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
    idle_cpu_share: float = 0.15  # of a core, by all candidates that have nothing to do; three use 0.03 by themselves
    error_share: float = 0.001
    achieved_share: float = 0.98


@record
class Pace:
    """How a run spends its time, in seconds.

    `minutes`: no block is begun that would probably last longer. `blocks`: at most; each begins with fresh processes of every candidate,
    and has `rounds`. A slice lasts `slice_s`, or until about `fewest_requests` are due, but never more than `longest_slice_s`; before
    it the load runs for `settle_s` unmeasured. `warm_up_s`: for each candidate and workload, once in a block.
    """

    minutes: Positive
    blocks: Annotated[int, Field(ge=1)]
    rounds: Annotated[int, Field(ge=1)]
    slice_s: Positive
    longest_slice_s: Positive
    fewest_requests: int
    settle_s: float
    warm_up_s: float


@record
class Manifest:
    """What was decided before the run. `sees`: the difference that was asked for (0.1 is 10 %), at which a run may end early.

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
    baseline: str
    margin: float
    confidence: float
    sees: float | None = None
    pace: Pace
    settings: dict[str, str] = field(default_factory=dict)
    candidates: tuple[Candidate, ...]
    workloads: tuple[Workload, ...]
    limits: Limits
    machine: Machine
    calibration: tuple[Calibration, ...] = ()
