"""What an image brings along: read from its Dockerfile, or from the engine when there is no Dockerfile."""

import json
import re
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tools.doctor.values import Origin

ANSWER_TIMEOUT_S = 30


@dataclass(frozen=True, slots=True)
class Image:
    """`user` is "" for root and None when nobody could say; `origin` is where that was read."""

    user: str | None = None
    healthcheck: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)
    command: tuple[str, ...] = ()
    origin: Origin | None = None


def from_dockerfile(path: Path, place: str) -> Image:
    """The last stage of a Dockerfile. What its base image sets is not known, which for Debian's is nothing."""
    text = re.sub(r"\\\n", " ", re.sub(r"^\s*#.*\n", "", path.read_text(), flags=re.MULTILINE))
    last_stage = re.split(r"^FROM\b", text, flags=re.MULTILINE | re.IGNORECASE)[-1]
    users = _instructions(last_stage, "USER")
    user = users[-1] if users else ""
    return Image(
        user=None if "$" in user else user,
        healthcheck=bool(_instructions(last_stage, "HEALTHCHECK")),
        environment=dict(word.split("=", 1) for line in _instructions(last_stage, "ENV") for word in shlex.split(line) if "=" in word),
        command=_command(_instructions(last_stage, "CMD")),
        origin=Origin(place),
    )


def _instructions(stage: str, name: str) -> list[str]:
    found = re.findall(rf"^{name}\s+(.+)$", stage, flags=re.MULTILINE | re.IGNORECASE)
    return [text.strip() for text in found]


def _command(commands: Sequence[str]) -> tuple[str, ...]:
    if not commands:
        return ()
    return tuple(json.loads(commands[-1])) if commands[-1].startswith("[") else tuple(shlex.split(commands[-1]))


def from_engine(name: str) -> Image:
    """An image that the engine has; nothing is known of one that it has not, and none is fetched."""
    config = _inspect(name)
    if config is None:
        return Image()
    environment = dict(word.split("=", 1) for word in config.get("Env") or ())
    return Image(
        user=config.get("User") or "",
        healthcheck=bool(config.get("Healthcheck")),
        environment=environment,
        command=tuple(config.get("Cmd") or ()),
        origin=Origin(f"image {name}"),
    )


def _inspect(name: str) -> dict[str, Any] | None:
    argv = ["docker", "image", "inspect", "--format", "{{json .Config}}", name]
    try:
        answer = subprocess.run(argv, capture_output=True, text=True, timeout=ANSWER_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    found: dict[str, Any] | None = json.loads(answer.stdout) if answer.returncode == 0 else None
    return found
