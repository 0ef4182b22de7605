"""Choose the runtime, and say why."""

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from tools.local import session
from tools.stack.base import StackError

# An engine that needs longer than this to say its version would not be of use; a DOCKER_HOST that answers nothing must not hang `make up`.
ANSWER_TIMEOUT_S = 5
RUNTIMES = ("auto", "compose", "local")


class Choice(NamedTuple):
    """A runtime ("compose" or "local") and the reason for it, a phrase that follows "because"."""

    runtime: str
    reason: str


def choose(runtime: str, *, name: str, root: Path, settings: Mapping[str, str]) -> Choice:
    """Return the runtime to use for the stack `name`; raise when a forced one is not available."""
    wanted = runtime if runtime != "auto" else settings.get("RUNTIME", "").strip() or "auto"
    if wanted not in RUNTIMES:
        raise StackError(f"RUNTIME={wanted!r} is unknown", hint=f"use one of {', '.join(RUNTIMES)}", exit_code=2)
    if wanted == "local":
        return Choice("local", "it was asked for")
    # Otherwise `make down` would look for containers when an engine was installed after `make up`.
    if wanted == "auto" and session.processes(root / ".run" / name / "run"):
        return Choice("local", "this stack already runs that way")
    problem = missing_for_compose(settings)
    if problem and wanted == "compose":
        raise StackError(f"the runtime compose was asked for, but {problem}", hint="start Docker, or leave RUNTIME unset")
    if problem:
        return Choice("local", problem)
    return Choice("compose", "it was asked for" if wanted == "compose" else "a Docker engine answers")


def missing_for_compose(settings: Mapping[str, str]) -> str:
    """Say what keeps Compose from running here, or "" when nothing does."""
    problem = _ask(["docker", "info", "--format", "{{.ServerVersion}}"], "the Docker engine", settings)
    return problem or _ask(["docker", "compose", "version", "--short"], "the Compose plugin of Docker", settings)


def _ask(argv: list[str], what: str, settings: Mapping[str, str]) -> str:
    try:
        answer = subprocess.run(argv, capture_output=True, text=True, timeout=ANSWER_TIMEOUT_S, env=dict(settings), check=False)
    except FileNotFoundError:
        return "docker is not installed"
    except PermissionError:
        return "the docker command cannot be run"
    except subprocess.TimeoutExpired:
        return f"{what} did not answer within {ANSWER_TIMEOUT_S} s"
    # Some clients exit with 0 and an empty version when the engine is out of reach.
    if answer.returncode or not answer.stdout.strip():
        first_line = (answer.stderr.strip().splitlines() or ["it gave no reason"])[0]
        return f"{what} does not answer ({first_line})"
    return ""
