"""What a generator process is told to do. Read and written by both sides, so it imports nothing of Locust's."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class Order:
    """What one generator shall do. `mix`: (locustfile or "" for the kit's own, user class, share).

    `rate_per_s`: arrivals of the open model; 0: the closed model with `users` visitors that never pause.
    """

    url: str
    mix: tuple[tuple[str, str, float], ...]
    rate_per_s: float = 0.0
    users: int = 0
    seed: int = 1
    max_in_flight: int | None = None
    warm_up_s: float = 2.0
    warm_up_at_most_s: float = 10.0
    window_s: float = 1.0
    measure_s: float = 10.0
    patience_s: float = 5.0
    cpus: tuple[int, ...] = field(default=())

    @classmethod
    def from_json(cls, text: str) -> Self:
        data: dict[str, Any] = json.loads(text)
        return cls(**data | {"mix": tuple(tuple(part) for part in data["mix"]), "cpus": tuple(data.get("cpus", ()))})

    def to_json(self) -> str:
        return json.dumps(asdict(self))
