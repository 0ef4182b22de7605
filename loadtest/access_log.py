"""A workload out of what visitors did: the mix of GET requests in the gateway's JSON access log, as a locustfile.

Only what changes nothing is repeated, and only what the log tells: it holds no bodies, no cookies and no pauses.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

from loadtest.records.store import RunError

# So many addresses at most: the rest is rare, and each is a task that the generator has to draw from.
MOST_PATHS = 50
# Shares are kept in parts of this.
PARTS = 1000
# An address is sent as it stands there, so it must be one.
_URI = re.compile(r"/[!-~]*")


@dataclass(frozen=True)
class Mix:
    """Which addresses were asked for, and how often. `left_out`: reason -> number of lines."""

    name: str
    paths: dict[str, int]
    left_out: dict[str, int]

    def lines(self) -> list[str]:
        total = sum(self.paths.values())
        out = [f"{self.name}: {total} GET requests of {len(self.paths)} addresses make the mix"]
        return out + [f"  left out: {number} {reason}" for reason, number in sorted(self.left_out.items())]

    def locustfile(self) -> str:
        """Return the mix as a locustfile, which runs by hand as well."""
        total = sum(self.paths.values())
        tasks = "".join(
            f"\n    @task({max(round(PARTS * number / total), 1)})\n    def get_{index}(self):\n"
            f"        self.client.get({uri!r}, name={uri.partition('?')[0]!r})\n"
            for index, (uri, number) in enumerate(self.paths.items())
        )
        return (
            f'"""The GET requests of an access log: {total} requests of {len(self.paths)} addresses."""\n\n'
            f"from locust import FastHttpUser, task\n\n\nclass Replay(FastHttpUser):\n{tasks}"
        )


def read_access_log(path: Path) -> Mix:
    """Read a log, as `docker compose logs gateway` prints it or as the file; raises RunError when nothing in it can be repeated."""
    try:
        # Bytes that a client sent stand there as they came.
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror}", "right is the gateway's access log", 2) from None
    wanted: Counter[str] = Counter()
    left_out: Counter[str] = Counter()
    for entry in _entries(text):
        reason = _unfit(entry)
        if reason:
            left_out[reason] += 1
        else:
            wanted[entry["uri"]] += 1
    if not wanted:
        why = ", ".join(f"{number} {reason}" for reason, number in left_out.items()) or "it has no line"
        raise RunError(f"{path} holds no GET request that can be repeated ({why})", "right is the JSON access log of this kit's gateway", 2)
    kept = dict(wanted.most_common(MOST_PATHS))
    if rare := wanted.total() - sum(kept.values()):
        left_out["GET requests of rarer addresses"] = rare
    return Mix(re.sub(r"\W+", "-", path.stem) or "log", kept, dict(left_out))


def _entries(text: str) -> Iterator[dict[str, Any]]:
    for line in text.splitlines():
        try:
            entry = json.loads(line[max(line.find("{"), 0) :])
        except ValueError:
            entry = {}
        if line.strip():
            yield entry if isinstance(entry, dict) else {}


def _unfit(entry: dict[str, Any]) -> str:
    """Say why a line cannot be repeated; "" when it can."""
    if not isinstance(entry.get("uri"), str) or "method" not in entry or not isinstance(entry.get("status"), int):
        return "lines that are no requests"
    if entry["method"] != "GET":
        return "requests that may change something, or whose body is not in the log"
    if not entry.get("upstream"):
        return "requests that the gateway answered by itself"
    if entry["status"] >= HTTPStatus.BAD_REQUEST or not _URI.fullmatch(entry["uri"]):
        return "requests that failed"
    return ""
