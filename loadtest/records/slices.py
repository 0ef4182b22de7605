"""What a run writes down while it measures: one record for each line of `records.jsonl`, in the order in which they were made.

They say what was seen, never whether it is believed or what it means: that is judged from the files, each time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Annotated, Any, Literal

from pydantic import Field

from loadtest.records.model import record
from loadtest.records.recording import Recording


@record
class Usage:
    """What a part of the system under test has used, or used in a slice. None: cannot be read here.

    waited_ns: ready to run, and without a processor. switches: how often one of its threads was put on a processor.
    throttled_ns: stopped by a quota.
    """

    cpu_ns: int | None = None
    waited_ns: int | None = None
    switches: int | None = None
    throttled_ns: int | None = None

    def since(self, first: Usage) -> Usage:
        """Return what was used from `first` to this reading."""
        return Usage(**{name: _difference(getattr(first, name), getattr(self, name)) for name in _PARTS})

    @classmethod
    def total(cls, parts: Sequence[Usage]) -> Usage:
        """Return the sum of what several containers or processes used; None where one of them could not be read."""
        columns = {name: [getattr(part, name) for part in parts] for name in _PARTS}
        return cls(**{name: sum(column) if None not in column else None for name, column in columns.items()})


_PARTS = tuple(one.name for one in fields(Usage))


def _difference(first: int | None, last: int | None) -> int | None:
    return None if first is None or last is None else max(last - first, 0)


@record
class Start:
    """Fresh processes of a candidate. `proof`: what it said of itself.

    `start_s`: until they answered, all candidates starting at once; None: the first ones, which start with all else.
    `memory_bytes`: once it was warm, before the first slice of the block.
    """

    kind: Literal["start"] = "start"
    candidate: str
    block: int
    at_s: float
    start_s: float | None
    proof: dict[str, Any]
    memory_bytes: int | None = None


@record
class Slice:
    """One candidate under one workload for a second or so, at one offered rate.

    `round`: slices of a workload in the same round are neighbours in time, in random order; it counts on over the blocks.
    `calm`: at a rate that all candidates hold with ease, the same for all of the round; else near the candidate's own knee.
    `settle_s`: load before it is measured. `at_s`: when it began, since the beginning of the run.
    `in_flight_mean`: visitors on their way, sampled.
    `rest`: the database, and the slow service of the laboratory. `idle_cpu_ns`: of all other candidates, which have nothing to do.
    `steal_share`: of all processors; `others_cpu_share`: in cores.
    """

    kind: Literal["slice"] = "slice"
    workload: str
    candidate: str
    block: int
    round: int
    at_s: float
    rate_per_s: float
    duration_s: float
    recording: Recording
    in_flight_mean: float
    server: Usage
    gateway: Usage
    rest: Usage
    generator: Usage
    idle_cpu_ns: int | None = None
    steal_share: float | None = None
    others_cpu_share: float | None = None
    calm: bool = False
    settle_s: float = 0.0


@record
class Loss:
    """A candidate that died, or would not start: it takes no further part in the run."""

    kind: Literal["loss"] = "loss"
    candidate: str
    block: int
    at_s: float
    reason: str


Record = Annotated[Start | Slice | Loss, Field(discriminator="kind")]
