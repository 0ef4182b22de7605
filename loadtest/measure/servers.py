"""The server under test as the comparison sees it. Nothing else is known of it: other servers need another adapter only."""

from dataclasses import dataclass
from typing import Any, Protocol

from loadtest.records.slices import Usage
from loadtest.records.store import RunError


class ServerError(RunError):
    """A server that cannot be started, went away, or is not what it is called."""


@dataclass(frozen=True)
class Reading:
    """Counters of one moment: what is used between two of them is the difference. `rest`: database and other helpers."""

    server: Usage
    gateway: Usage
    rest: Usage


class Server(Protocol):
    """A candidate that stays up, idle between its slices, behind a gateway. All methods raise ServerError when it has died."""

    @property
    def url(self) -> str:
        """Where the gateway answers, without a slash at the end."""

    @property
    def null_url(self) -> str | None:
        """A URL that the gateway answers by itself with 200, by the same way; None where there is none."""

    def renew(self) -> None:
        """Replace the server's processes by fresh ones."""

    def proof(self) -> dict[str, Any]:
        """What the server says of itself."""

    def look(self) -> None:
        """Find out what there is to read; called before a slice, so that reading is quick."""

    def read(self) -> Reading:
        """Read the counters."""

    def cpu_ns(self) -> int | None:
        """Processor time of server and gateway together; for idle ones, whose part in it is nothing."""

    def memory_bytes(self) -> int | None:
        """What the server's processes hold in memory."""

    def stop(self) -> None:
        """End it, and all that belongs to it alone."""
