"""The processes of a local stack, found without supervisord's help: it may have been killed, and what it started goes on."""

import os
from contextlib import suppress
from pathlib import Path

import psutil

from tools.stack.base import StackError

# supervisord leaves when its last process has ended, and what is killed is gone.
LEAVE_TIMEOUT_S = 10


def supervisord(run: Path) -> psutil.Process | None:
    """Return the one whose pid file is in `run`, while it lives."""
    for process in psutil.process_iter(["cmdline"]):
        if {"--pidfile", str(run / "supervisord.pid")} <= set(process.info["cmdline"] or ()):
            return process
    return None


def processes(run: Path, number: int = 0) -> list[psutil.Process]:
    """Return everything that it started, itself included, alive after it or not.

    It leads a session (`number`) that none of its descendants leaves: nginx and gunicorn do so only as daemons. When the last has ended
    the number is given away again: so they must also belong to the owner of `run`, and work in the project.
    """
    found = []
    number = number or _number(run)
    for process in psutil.process_iter() if number else ():
        with suppress(psutil.Error, OSError):
            same = os.getsid(process.pid) == number and process.uids().real == run.stat().st_uid
            if same and process.status() != psutil.STATUS_ZOMBIE and Path(process.cwd()).is_relative_to(run.parents[2]):
                found.append(process)
    return found


def _number(run: Path) -> int:
    """Return supervisord's pid; killed, it leaves that in its file."""
    leader = supervisord(run)
    with suppress(OSError, ValueError):
        return leader.pid if leader else int((run / "supervisord.pid").read_text())
    return 0


def end(run: Path, patience_s: float) -> None:
    """End supervisord, which ends its programs in their order and may take so long for it, and then whatever is left."""
    number = _number(run)
    try:
        if leader := supervisord(run):
            leader.terminate()
            with suppress(psutil.TimeoutExpired):
                leader.wait(patience_s + LEAVE_TIMEOUT_S)
        left = processes(run, number)
        for process in left:
            with suppress(psutil.NoSuchProcess):
                process.kill()
    except psutil.AccessDenied as error:
        raise StackError(f"process {error.pid} belongs to another user", hint="stop the stack as the user who started it") from None
    if alive := psutil.wait_procs(left, timeout=LEAVE_TIMEOUT_S)[1]:
        raise StackError(f"processes cannot be ended: {', '.join(str(process.pid) for process in alive)}")
