"""What a generator process is told to do, and what it answers. Both sides read it, so it imports nothing of Locust's."""

from pydantic.dataclasses import dataclass

from loadtest.records.recording import Recording

LEAD_S = 0.1  # from the end of the warm-up until it is measured
Mix = tuple[tuple[str, str, float], ...]  # (locustfile, "" for the kit's own; user class; share or number)


@dataclass(frozen=True)
class Order:
    """Whom to visit, and who visits. Visitors and their connections stay from step to step, until an order of the same `name`.

    `background`: visitors who are there during each step and are not measured; their third part is their number.
    `cpus`: processors to run on; empty: any.
    """

    url: str
    mix: Mix
    background: Mix = ()
    cpus: tuple[int, ...] = ()
    name: str = ""


@dataclass(frozen=True)
class StepOrder:
    """One stretch of load. `name`: of the order that says whom to visit.

    `rate_per_s`: arrivals of the open model; 0: the closed model, `users` visitors who never pause.
    `warm_up_s`: before it is measured. `patience_s`: how long to wait for the last answers.
    """

    name: str = ""
    rate_per_s: float = 0.0
    users: int = 0
    seed: int = 1
    max_in_flight: int | None = None
    warm_up_s: float = 2.0
    measure_s: float = 10.0
    patience_s: float = 5.0


@dataclass(frozen=True)
class Generated:
    """What the generator saw in a stretch of time, and how it fared itself.

    cpu_share: of one core. from_s, until_s, schedule_start_s (moment 0 of the arrivals): readings of the monotonic clock.
    """

    recording: Recording
    from_s: float
    until_s: float
    cpu_share: float
    in_flight_mean: float
    schedule_start_s: float
