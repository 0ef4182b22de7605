"""Run the local runtime's processes under supervisor (supervisord.org), and find all of them again."""

import configparser
import os
import shlex
import subprocess
import sys
import xmlrpc.client
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from typing import Any, cast

import psutil
from supervisor.xmlrpc import SupervisorTransport

from tools.stack.base import StackError, last_lines
from tools.stack.machine import Account
from tools.stack.waiting import wait_until

# The longest path that fits into a socket address: 108 bytes on Linux, 104 on macOS, with a zero at the end.
SOCKET_PATH_MAX = 103
# supervisord reaps and saves before it leaves; its children have stop times of their own, added to this.
LEAVE_TIMEOUT_S = 10
# From its start until its socket takes commands: imports, mostly.
ANSWER_TIMEOUT_S = 20
# Bounds what the logs of one process take up; at the bound supervisor keeps one older file.
LOG_MAX = "10MB"
ALIVE = {"STOPPED", "STARTING", "RUNNING"}  # a program is "stopped" until supervisor gets round to starting it


@dataclass(frozen=True, slots=True)
class Program:
    """A process to keep running."""

    name: str
    argv: Sequence[str]
    cwd: Path
    env: Mapping[str, str] = field(default_factory=dict)
    stop_signal: str = "TERM"
    stop_wait_s: int = 10  # after that it is killed with all of its children


@dataclass(frozen=True, slots=True)
class Leader:
    """The supervisord of a stack, identified beyond the reuse of its pid by the file it was started with."""

    pid: int
    config: str  # the path of that file
    root: str  # the folder in which everything it starts works

    def process(self) -> psutil.Process | None:
        """Return the process while it lives, else None."""
        with suppress(psutil.Error):
            if self.config in _command(self.pid):
                return psutil.Process(self.pid)
        return None

    def session(self) -> list[psutil.Process]:
        """Return every process that it started, directly or not, itself included, alive after it or not.

        supervisord leads a session of its own, and none of its descendants leaves it: nginx and gunicorn do so only as daemons.
        The number of a session is not given away while a process belongs to it. After a restart of the machine it may be
        somebody else's: then a process has the number that is not supervisord, or works elsewhere.
        """
        command = _command(self.pid)
        # Empty: it has ended, or is just ending.
        if command and self.config not in command:
            return []
        return [process for process in psutil.process_iter() if self._started(process)]

    def _started(self, process: psutil.Process) -> bool:
        with suppress(psutil.Error, OSError):
            return (
                os.getsid(process.pid) == self.pid
                and process.status() != psutil.STATUS_ZOMBIE
                and Path(process.cwd()).is_relative_to(self.root)
            )
        return False


def _command(pid: int) -> list[str]:
    with suppress(psutil.Error):
        return psutil.Process(pid).cmdline()
    return []


class Supervisor:
    """A supervisord and its programs. Everything it writes lies in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._config = folder / "supervisord.conf"
        self._socket = folder / "supervisor.sock"
        self.logs = folder / "log"

    def check(self) -> None:
        """Raise when the folder's path is too long for a socket."""
        if len(os.fsencode(self._socket)) > SOCKET_PATH_MAX:
            raise StackError(
                f"the path {self._folder} is too long for a socket in it", hint="put the project into a folder with a shorter path"
            )

    def start(self, env: Mapping[str, str], *, account: Account, root: Path) -> Leader:
        """Start supervisord with no program; `env` and `account` are what every program inherits, `root` the folder in which they work."""
        self._write([])
        with (self.logs / "supervisord.out").open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "supervisor.supervisord", "--nodaemon", "--configuration", str(self._config)],
                cwd=self._folder,
                env=dict(env),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                **account.popen_options(),
            )
        leader = Leader(process.pid, str(self._config), str(root))
        try:
            wait_until(lambda: self._answers(process), ANSWER_TIMEOUT_S, "supervisord does not answer")
        except BaseException:
            stop(leader)
            raise
        finally:
            # It outlives this program by intention; Popen would complain of a child that nobody has waited for.
            process.returncode = 0
        return leader

    def add(self, programs: Sequence[Program], *, all_programs: Sequence[Program]) -> None:
        """Start more programs. `all_programs` is everything that shall run from now on."""
        self._write(all_programs)
        with self._rpc() as rpc:
            rpc.reloadConfig()
            for program in programs:
                rpc.addProcessGroup(program.name)

    def remove(self, programs: Sequence[Program], *, all_programs: Sequence[Program]) -> None:
        """Stop programs, all at once, and forget them. `all_programs` is what remains."""
        with self._rpc() as rpc:
            for program in programs:
                # Told to wait, supervisor would look once a second.
                rpc.stopProcess(program.name, False)
            names = {program.name for program in programs}
            patience_s = max(program.stop_wait_s for program in programs) + LEAVE_TIMEOUT_S
            wait_until(lambda: not any(pid for name, (_, pid) in self.states().items() if name in names), patience_s, "they do not stop")
            self._write(all_programs)
            rpc.reloadConfig()
            for program in programs:
                rpc.removeProcessGroup(program.name)

    def stop_programs(self, *, first: str) -> None:
        """Stop `first`, then all others at once; returns when they have ended."""
        with self._rpc() as rpc:
            if first in self.states():
                rpc.stopProcess(first)
            rpc.stopAllProcesses()

    def signal(self, program: str, name: str) -> None:
        """Send a signal ("HUP") to a program."""
        with self._rpc() as rpc:
            rpc.signalProcess(program, name)

    def states(self) -> dict[str, tuple[str, int]]:
        """Map each program to its state ("RUNNING", "BACKOFF", …) and its pid, 0 when it has none."""
        with self._rpc() as rpc:
            rows = cast("list[dict[str, Any]]", rpc.getAllProcessInfo())
        return {str(row["name"]): (str(row["statename"]), int(row["pid"])) for row in rows}

    def require_alive(self) -> None:
        """Raise, with the last lines of its log, when a program has ended by itself."""
        for name, (state, _) in self.states().items():
            if state not in ALIVE:
                raise StackError(f"{name} ended while it was starting", details=last_lines(self._text(f"{name}.log")))

    def all_running(self) -> bool:
        """Say whether every program has been up for a second; raise when one has ended."""
        self.require_alive()
        return all(state == "RUNNING" for state, _ in self.states().values())

    def _answers(self, process: subprocess.Popen[bytes]) -> bool:
        if process.poll() is not None:
            raise StackError("supervisord did not start", details=last_lines(self._text("supervisord.out")))
        try:
            self.states()
        except StackError:
            return False
        return True

    def _text(self, name: str) -> str:
        return (self.logs / name).read_text(errors="replace") if (self.logs / name).exists() else ""

    @contextmanager
    def _rpc(self) -> Iterator[Any]:
        transport = SupervisorTransport(None, None, f"unix://{self._socket}")
        try:
            yield xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport).supervisor
        except xmlrpc.client.Fault as error:
            raise StackError(f"supervisor refused: {error.faultString}") from None
        except (OSError, HTTPException, xmlrpc.client.Error) as error:
            raise StackError(f"supervisor does not answer ({error})") from None
        finally:
            transport.close()

    def _write(self, programs: Sequence[Program]) -> None:
        config = configparser.RawConfigParser()
        config["unix_http_server"] = {"file": _escape(self._socket)}
        config["rpcinterface:supervisor"] = {"supervisor.rpcinterface_factory": "supervisor.rpcinterface:make_main_rpcinterface"}
        config["supervisord"] = {
            "logfile": _escape(self.logs / "supervisord.log"),
            "logfile_maxbytes": LOG_MAX,
            "logfile_backups": "1",
            "pidfile": _escape(self._folder / "supervisord.pid"),
            "silent": "true",  # its log file has the same lines
        }
        for program in programs:
            config[f"program:{program.name}"] = self._section(program)
        with self._config.open("w") as file:
            config.write(file)

    def _section(self, program: Program) -> dict[str, str]:
        return {
            "command": _escape(shlex.join(program.argv)),
            "directory": _escape(program.cwd),
            "environment": ",".join(f'{key}="{_escape(value)}"' for key, value in program.env.items()),
            # Not only after an unexpected exit code: a server that ends, ends unexpectedly.
            "autorestart": "true",
            "stopsignal": program.stop_signal,
            "stopwaitsecs": str(program.stop_wait_s),
            # Otherwise a killed parent leaves its workers behind, with the port.
            "killasgroup": "true",
            "redirect_stderr": "true",
            "stdout_logfile": _escape(self.logs / f"{program.name}.log"),
            "stdout_logfile_maxbytes": LOG_MAX,
            "stdout_logfile_backups": "1",
        }


def _escape(value: object) -> str:
    """Keep supervisor from expanding %(names)s in a value."""
    return str(value).replace("%", "%%")


def stop(leader: Leader, *, patience_s: float = 0) -> None:
    """End a supervisord with everything it started; `patience_s` is how long its programs may take to end in good order."""
    try:
        if process := leader.process():
            process.terminate()
            with suppress(psutil.TimeoutExpired):
                process.wait(patience_s + LEAVE_TIMEOUT_S)
        left = leader.session()
        for orphan in left:
            with suppress(psutil.NoSuchProcess):
                orphan.kill()
    except psutil.AccessDenied as error:
        raise StackError(f"process {error.pid} belongs to another user", hint="stop the stack as the user who started it") from None
    _, alive = psutil.wait_procs(left, timeout=LEAVE_TIMEOUT_S)
    if alive:
        raise StackError(f"processes cannot be ended: {', '.join(str(orphan.pid) for orphan in alive)}")
