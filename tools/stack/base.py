"""What both runtimes share: errors, and how settings are read."""

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple

from tools.stack import env_file

# A stack that is not ready by then will not become so: images are built and migrations have run before this clock starts,
# and a process that ends is noticed at once. A machine that is busy with other work needs half of it.
READY_TIMEOUT_S = 120
LOG_TAIL_LINES = 20

# What Compose would refuse in words that do not name the setting, or the engine when the old container is gone.
_NUMBERS = {"GATEWAY_PORT": (1, 65535), "GATEWAY_TLS_PORT": (1, 65535), "APP_REPLICAS": (1, 9999), "WAF_REPLICAS": (0, 9999)}
_NUMBERS |= {"DATABASE_MAX_CONNECTIONS": (1, 262143)}
_SERVICES = ("APP", "GATEWAY", "WAF", "DATABASE")
_FORMS = {f"{name}_CPUS": (r"\d+\.?\d*|\.\d+", "a number of CPUs, such as 1.5") for name in _SERVICES}
_FORMS |= {f"{name}_MEMORY": (r"(?i)\d+(\.\d+)?[kmgt]?i?b?", "a size such as 512m or 1g") for name in _SERVICES}

# Compose's own rule for project names; the local runtime uses the name as a folder.
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")


class StackError(Exception):
    """Something the user can act on.

    `message` is one line that says what is wrong, `hint` one line that says what would be right,
    `details` is text for the curious (log lines of the process that failed),
    `exit_code` is 2 for wrong input and 1 for everything else.
    """

    def __init__(self, message: str, *, hint: str = "", details: str = "", exit_code: int = 1) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.details = details
        self.exit_code = exit_code
        if details:
            self.add_note(details)  # for where it is not caught: a test


class Unit(NamedTuple):
    """One running part of a stack: a container, or a process with its children."""

    service: str  # "gateway", "app", "database", "downstream"
    id: str  # short container id, or pid of the parent process
    address: str  # "host:port, …" where it listens, "" when that is not known
    state: str  # what the engine or the supervisor says of it, in lower case


def project_name(root: Path, settings: Mapping[str, str]) -> str:
    """Return the stack's name as Compose finds it: COMPOSE_PROJECT_NAME, else `name` of docker-compose.yml, else the folder's.

    Raises when it cannot name a Compose project and a folder.
    """
    file = root / "docker-compose.yml"
    written = re.search(r"^name: *['\"]?([a-z0-9_-]+)", file.read_text() if file.is_file() else "", re.MULTILINE)
    name = settings.get("COMPOSE_PROJECT_NAME") or (written[1] if written else re.sub(r"[^a-z0-9_-]", "", root.name.lower()).lstrip("_-"))
    if not _NAME.fullmatch(name):
        raise StackError(
            f"{name!r} cannot name a stack", hint="use lower-case letters, digits, - and _, beginning with a letter or digit", exit_code=2
        )
    return name


def read_settings(root: Path, extra: Mapping[str, str] | None) -> dict[str, str]:
    """Merge `.env`, the environment and `extra`; the later wins, as it does with Compose."""
    try:
        from_file = {name: value.text for name, value in env_file.read(root / ".env").items()}
    except ValueError as error:
        raise StackError(str(error), exit_code=2) from None
    return {**from_file, **os.environ, **(extra or {})}


def read_number(settings: Mapping[str, str], name: str, default: int, *, low: int, high: int) -> int:
    """Read a whole number from the settings, or raise with the setting's name and range."""
    text = settings.get(name, "").strip()
    if not text:
        return default
    if not text.isascii() or not text.isdigit() or not low <= int(text) <= high:
        raise StackError(f"{name}={text!r} is not a whole number from {low} to {high}", exit_code=2)
    return int(text)


def check_forms(settings: Mapping[str, str]) -> None:
    """Raise, with what would be right, for a value of docker-compose.yml that cannot be: nothing was touched yet."""
    for name, (low, high) in _NUMBERS.items():
        read_number(settings, name, low, low=low, high=high)
    for name, (pattern, right) in _FORMS.items():
        text = settings.get(name, "").strip()
        if text and not re.fullmatch(pattern, text):
            raise StackError(f"{name}={text!r} is not {right}", exit_code=2)
    bind = settings.get("GATEWAY_BIND", "").strip()
    if bind not in {"", "[]"} and not _is_address(bind):
        hint = "use an IPv4 address, an IPv6 address in brackets, or [] for all of both"
        raise StackError(f"GATEWAY_BIND={bind!r} is no address", hint=hint, exit_code=2)


def _is_address(text: str) -> bool:
    version, inside = (6, text[1:-1]) if text.startswith("[") and text.endswith("]") else (4, text)
    try:
        return ip_address(inside).version == version
    except ValueError:
        return False


def is_on(settings: Mapping[str, str], name: str) -> bool:
    """Read a switch that is off unless it is set to 1, true, yes or on."""
    text = settings.get(name, "").strip().lower()
    if text in {"", "0", "false", "no", "off"}:
        return False
    if text in {"1", "true", "yes", "on"}:
        return True
    raise StackError(f"{name}={text!r} is neither on nor off", hint=f"use {name}=1 or {name}=0", exit_code=2)


def other_servers(root: Path) -> list[str]:
    """Return what SERVER may be, beside gunicorn."""
    return sorted(path.parent.name for path in root.glob("servers/*/server.toml"))


def other_server(settings: Mapping[str, str], root: Path) -> str:
    """Return the SERVER that is asked for, "" for gunicorn; raise when there is no such server."""
    name = settings.get("SERVER", "").strip()
    known = other_servers(root)
    if name not in {"", "gunicorn", *known}:
        raise StackError(f"SERVER={name} is unknown", hint=f"use one of {', '.join(('gunicorn', *known))}", exit_code=2)
    return "" if name == "gunicorn" else name


def check_server(settings: Mapping[str, str], root: Path) -> None:
    """Let servers/start.py refuse what SERVER does not take, before an image is built or a package installed."""
    if name := other_server(settings, root):
        argv = [sys.executable, str(root / "servers/start.py"), name, "--check"]
        checked = subprocess.run(argv, env=settings, capture_output=True, text=True, check=False)
        if checked.returncode:
            raise StackError(last_lines(checked.stderr), exit_code=2)


def last_lines(text: str, count: int = LOG_TAIL_LINES) -> str:
    return "\n".join(text.rstrip().splitlines()[-count:])
