"""The ledger: every write with the answer it got, held against what the database has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus

from tools.stack import Stack, StackError

# An entry of the ledger carries its key as its text, so that one that was stored twice shows as two rows.
_STORED = "SELECT message, count(*) FROM entry WHERE name = 'ledger' GROUP BY message"
# The API's word for it, and the form's: the browser is sent to the list.
_ACKNOWLEDGED = {HTTPStatus.CREATED, HTTPStatus.SEE_OTHER}


@dataclass(frozen=True, slots=True)
class Balance:
    """What became of the writes. Keys of each kind; `stored_unknown`: no acknowledgement came, and yet it was stored, once."""

    sent: int
    acknowledged: int
    lost: tuple[str, ...]  # acknowledged, and not in the database
    doubled: tuple[str, ...]  # more than once in the database
    stored_unknown: tuple[str, ...]

    @property
    def holds(self) -> bool:
        """Whether nothing acknowledged is missing and nothing is there twice."""
        return not self.lost and not self.doubled

    def __str__(self) -> str:
        return (
            f"{self.sent} writes, {self.acknowledged} acknowledged: {len(self.lost)} lost, {len(self.doubled)} doubled, "
            f"{len(self.stored_unknown)} stored without an acknowledgement"
        )


def reconcile(writes: Sequence[tuple[str, int, str]], stored: Mapping[str, int]) -> Balance:
    """Hold the ledger (key, status, error) against `stored` (key -> rows in the database)."""
    acknowledged = {key for key, status, _ in writes if status in _ACKNOWLEDGED}
    keys = {key for key, _, _ in writes}
    return Balance(
        sent=len(writes),
        acknowledged=len(acknowledged),
        lost=tuple(sorted(key for key in acknowledged if not stored.get(key))),
        doubled=tuple(sorted(key for key in keys if stored.get(key, 0) > 1)),
        stored_unknown=tuple(sorted(key for key in keys - acknowledged if stored.get(key))),
    )


def stored_writes(stack: Stack) -> dict[str, int]:
    """Return {key: rows} of all ledger entries in a Compose stack's database; StackError when it does not answer."""
    command = ["psql", "--host=127.0.0.1", "--username=kit", "--dbname=kit", "--no-align", "--tuples-only", "--command", _STORED]
    answer = stack.exec("database", ["sh", "-ec", 'PGPASSWORD=$(cat "$POSTGRES_PASSWORD_FILE") exec "$@"', "sh", *command])
    if answer.returncode:
        raise StackError("the database does not tell what it has stored", details=answer.stderr)
    return {key: int(rows) for key, _, rows in (line.partition("|") for line in answer.stdout.splitlines() if line)}
