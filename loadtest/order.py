"""What a generator process is told to do. Read and written by both sides, so it imports nothing of Locust's."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, Self

Mix = tuple[tuple[str, str, float], ...]  # (locustfile, "" for the kit's own; user class; share or number)


@dataclass(frozen=True, slots=True)
class Order:
    """Whom to visit, and who visits: said once to each generator process.

    `background`: visitors who are there all the time and are not measured; their third part is their number.
    `cpus`: processors to run on; empty: any.
    """

    url: str
    mix: Mix
    background: Mix = ()
    cpus: tuple[int, ...] = ()

    @classmethod
    def from_json(cls, text: str) -> Self:
        data: dict[str, Any] = json.loads(text)
        mixes = {name: tuple(tuple(part) for part in data[name]) for name in ("mix", "background")}
        return cls(**data | mixes | {"cpus": tuple(data["cpus"])})

    def to_json(self) -> str:
        return json.dumps(asdict(self))


@dataclass(frozen=True, slots=True)
class StepOrder:
    """One stretch of load. `rate_per_s`: arrivals of the open model; 0: the closed model, `users` visitors who never pause.

    `warm_up_s`: at least; `warm_up_at_most_s`: when the load has not settled by then, it is measured all the same, and
    said. `patience_s`: how long to wait for the last answers.
    """

    rate_per_s: float = 0.0
    users: int = 0
    seed: int = 1
    max_in_flight: int | None = None
    warm_up_s: float = 2.0
    warm_up_at_most_s: float = 10.0
    window_s: float = 1.0
    measure_s: float = 10.0
    patience_s: float = 5.0

    @classmethod
    def from_json(cls, text: str) -> Self:
        return cls(**json.loads(text))

    def to_json(self) -> str:
        return json.dumps(asdict(self))
