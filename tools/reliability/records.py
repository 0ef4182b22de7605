"""What a run leaves behind: one file for each worker class and event, with raw facts. What they mean is judged from the files."""

from dataclasses import field
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import TypeAdapter, ValidationError

from loadtest.records.model import record
from loadtest.records.store import RunError, write_whole


class Request(NamedTuple):
    """One request. Times: monotonic seconds, latency counts from `due_s`. `error`: its kind, "" for the right answer."""

    name: str
    due_s: float
    ended_s: float
    error: str


class Write(NamedTuple):
    """One write: its key, which the database has too, and what came back. `status` 0: no answer, and `error` says why."""

    key: str
    status: int
    error: str


@record
class LoadResult:
    """What one load saw. dropped: arrivals that the generator had to drop."""

    started_s: float
    stopped_s: float
    requests: list[Request]
    writes: list[Write]
    dropped: int

    @property
    def failed(self) -> list[Request]:
        return [request for request in self.requests if request.error]


class Sample(NamedTuple):
    """One container at one moment: seconds from the begin, and since it started.

    heap_bytes: the heaps of its processes, so neither files nor shared memory. files: open descriptors, sockets among them.
    connections: of the app to the database, each a process there; these are not among processes and files of the database.
    """

    at_s: float
    age_s: float
    service: str
    container: str
    heap_bytes: int
    processes: int
    files: int
    connections: int


Counts = dict[str, dict[str, int]]  # service -> what is counted -> how many


@record
class Observation:
    """One event under load. Moments are of the monotonic clock, which all processes of a machine share.

    stored: key of a write -> rows in the database, of the keys that were sent. notable, answers: of the log, lines that an operator
    would look for, and what the gateway says of answers that failed. command, machine: how and where it was measured.
    before, after, samples: of an event that is watched, what was held with no load, and the containers meanwhile.
    """

    worker_class: str
    event: str
    title: str
    expect: str
    promised: bool
    command: str
    machine: str
    rate_per_s: float
    max_in_flight: str
    began_s: float
    ended_s: float
    loads: list[LoadResult]
    stored: dict[str, int]
    notable: list[str]
    answers: list[dict[str, Any]]
    before: Counts = field(default_factory=dict)
    after: Counts = field(default_factory=dict)
    samples: list[Sample] = field(default_factory=list)

    @property
    def dropped(self) -> int:
        return sum(load.dropped for load in self.loads)


_RECORD: TypeAdapter[Observation] = TypeAdapter(Observation)


class Records:
    """The files of one kind in the folder of a run; a new record takes the place of an older one of its class and event."""

    def __init__(self, folder: Path, kind: str) -> None:
        self._folder = folder / kind

    def read(self) -> list[Observation]:
        """Return all records in the order in which they were measured; raises RunError for a file that is none."""
        found = []
        for path in sorted(self._folder.glob("*.json")):
            try:
                found.append(_RECORD.validate_json(path.read_bytes()))
            except ValidationError as error:
                raise RunError(f"{path}: {error.errors()[0]['msg']}", "give a folder that is empty or holds a run", 2) from None
        return sorted(found, key=lambda one: one.began_s)

    def save(self, one: Observation) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        write_whole(self._folder / f"{one.worker_class}.{one.event}.json", _RECORD.dump_json(one))
