"""Sizes, durations and versions as nginx, Compose and Docker write them, in one unit each."""

import re

_SIZE = re.compile(r"(\d+)\s*([kmgKMG]?)[bB]?", re.ASCII)
_FACTOR = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3}
# Longest unit first: "ms" must not be read as minutes.
_PART = re.compile(r"(\d+(?:\.\d+)?)(us|ms|ns|[smhdwMy]?)", re.ASCII)
_SECONDS = {
    "ns": 1e-9,
    "us": 1e-6,
    "ms": 1e-3,
    "": 1.0,
    "s": 1.0,
    "m": 60.0,
    "h": 3600.0,
    "d": 86400.0,
    "w": 604800.0,
    "M": 2592000.0,
    "y": 31536000.0,
}

Version = tuple[int, ...]


def size_bytes(text: str) -> int:
    """`8k`, `10m`, `1g`, `64mb` or plain bytes, as bytes; ValueError for anything else."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a size")
    return int(match[1]) * _FACTOR[match[2].lower()]


def seconds(text: str) -> float:
    """`35s`, `1m30s`, `1h 30m`, `500ms` or plain seconds, as seconds; ValueError for anything else."""
    packed = text.replace(" ", "")
    parts = list(_PART.finditer(packed))
    if not packed or "".join(part[0] for part in parts) != packed:
        raise ValueError(f"{text!r} is not a duration")
    return sum(float(part[1]) * _SECONDS[part[2]] for part in parts)


def version(text: str) -> Version:
    """The first dotted number in `text` (`nginx version: nginx/1.30.6`); ValueError without one."""
    match = re.search(r"\d+(?:\.\d+)+", text)
    if match is None:
        raise ValueError(f"{text!r} holds no version")
    return tuple(int(part) for part in match[0].split("."))


def show_seconds(value: float) -> str:
    """35 s, 0.5 s, 90 s: always in seconds, so that two values can be compared by eye."""
    return f"{value:g} s"


def show_bytes(value: int) -> str:
    """10 MiB, 8 KiB, 8190 B: in the largest unit that divides it."""
    for unit, factor in (("GiB", 1024**3), ("MiB", 1024**2), ("KiB", 1024)):
        if value and value % factor == 0:
            return f"{value // factor} {unit}"
    return f"{value} B"


def show_version(value: Version) -> str:
    """1.30.6 from (1, 30, 6)."""
    return ".".join(map(str, value))
