"""Another key for the sessions, without a visitor who is signed out."""

from collections.abc import Callable, Sequence
from pathlib import Path

import click

from tools.stack.base import StackError, last_lines, other_server
from tools.stack.compose import ComposeStack, docker
from tools.stack.waiting import wait_until

# gunicorn's graceful_timeout (30 s) for what is in flight, and what a worker takes to start on a busy machine.
RELOAD_S = 90
STEP = Path(__file__).with_name("key_step.py")


def rotate(stack: ComposeStack, *, finish: bool, say: Callable[[str], None] = click.echo) -> None:
    """Accept a new key everywhere, then sign with it; with `finish`, accept the old one no longer."""
    if other_server(stack.settings, stack.root):
        raise StackError("only gunicorn reads a key again while it serves", hint="unset SERVER, or see docs/operating.md", exit_code=2)
    if not stack.replicas:
        raise StackError(f"{stack.name} does not run", hint="run make up")
    for step in ["forget"] if finish else ["accept", "sign"]:
        with STEP.open("rb") as script:
            done = stack.pipe("run", "--rm", "--no-deps", "--no-TTY", "preflight", "python", "-", step, stdin=script)
        if done.returncode:
            raise StackError(f"the key is as it was ({step})", details=last_lines(done.stderr.decode(errors="replace")))
        say(f"secret_key: {step}; reloading the workers ...")
        reload_workers([unit.id for unit in stack.processes() if unit.service == "app"])
    if not finish:
        say("The old key is accepted until `make rotate-secret ARGS=--finish`; whoever comes until then is signed in with the new one.")


def reload_workers(boxes: Sequence[str]) -> None:
    """Have every worker of these containers replaced by one that has read the files again; they finish what they have."""
    before = {box: workers(box) for box in boxes}
    for box in boxes:
        docker("kill", "--signal", "HUP", box)
    for box in boxes:
        wait_until(lambda box=box: _replaced(before[box], workers(box)), RELOAD_S, f"the workers of {box} are not replaced")  # type: ignore[misc]


def _replaced(before: set[str], now: set[str]) -> bool:
    return len(now) >= len(before) and not before & now


def workers(box: str) -> set[str]:
    """Return the processes of a container but the first, which is gunicorn's master."""
    rows = [line.split() for line in docker("top", box, "-o", "pid,ppid").splitlines()[1:]]
    pids = {pid for pid, _ in rows}
    return {pid for pid, parent in rows if parent in pids}
