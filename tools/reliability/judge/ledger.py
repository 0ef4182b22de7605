"""The ledger: every write with the answer it got, compared with what the database has."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus

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
        return f"{self.acknowledged} acknowledged, {len(self.lost)} lost, {len(self.doubled)} doubled"


def reconcile(writes: Sequence[tuple[str, int, str]], stored: Mapping[str, int]) -> Balance:
    """Compare the ledger (key, status, error) with `stored` (key -> rows in the database)."""
    acknowledged = {key for key, status, _ in writes if status in _ACKNOWLEDGED}
    keys = {key for key, _, _ in writes}
    return Balance(
        sent=len(writes),
        acknowledged=len(acknowledged),
        lost=tuple(sorted(key for key in acknowledged if not stored.get(key))),
        doubled=tuple(sorted(key for key in keys if stored.get(key, 0) > 1)),
        stored_unknown=tuple(sorted(key for key in keys - acknowledged if stored.get(key))),
    )
