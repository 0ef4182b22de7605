"""Cursors: where a list goes on. Opaque for clients, so that what is inside can change."""

import re

# Largest id that the column can hold.
MAX_ID = 2**63 - 1
# Every text like this is the cursor of an id, and every id has one: 16 hexadecimal digits, up to MAX_ID.
PATTERN = "^[0-7][0-9a-f]{15}$"


def encode(entry_id: int) -> str:
    """Return the cursor of the entries older than `entry_id`."""
    return f"{entry_id:016x}"


def decode(cursor: str) -> int:
    """Return the id in `cursor`; raises ValueError when it is none of ours."""
    if not re.fullmatch(PATTERN, cursor):
        raise ValueError("is not a cursor of this API")
    return int(cursor, 16)
