"""The server under test as the comparison sees it. Nothing else is known of it: other servers need another adapter only."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from loadtest.records.model import Candidate, Usage


class ServerError(Exception):
    """A server that cannot be started, went away, or is not what it is called. `hint`: what would be right."""

    def __init__(self, message: str, hint: str = "", exit_code: int = 1) -> None:
        super().__init__(message)
        self.message, self.hint, self.exit_code = message, hint, exit_code


@dataclass(frozen=True)
class Reading:
    """Counters of one moment: what is used between two of them is the difference. `rest_cpu_s`: database and other helpers."""

    server: Usage
    gateway: Usage
    rest_cpu_s: float | None


class Server(Protocol):
    """A running candidate, fresh, behind its gateway."""

    @property
    def url(self) -> str:
        """Where the gateway answers, without a slash at the end."""

    @property
    def null_url(self) -> str | None:
        """A URL that the gateway answers by itself with 200, by the same way; None where there is none."""

    def proof(self) -> dict[str, Any]:
        """What the server says of itself; raises ServerError when it does not answer."""

    def read(self) -> Reading:
        """Read the counters."""


class Servers(Protocol):
    """Starts candidates."""

    @property
    def runtime(self) -> str:
        """What it runs in: "compose", "local", …"""

    @property
    def cpus(self) -> Sequence[int]:
        """Processors that are left for the generator; empty: it shares all."""

    def versions(self) -> dict[str, str]:
        """Versions of what is under test."""

    def start(self, candidate: Candidate) -> AbstractContextManager[Server]:
        """Start a candidate in fresh processes, which end with the context or with the next start. Raises ServerError."""

    def close(self) -> None:
        """End whatever still runs."""
