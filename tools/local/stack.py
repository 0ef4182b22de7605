"""Start, look at and stop the processes of supervisord.conf."""

import os
import shutil
import subprocess
import sys
import xmlrpc.client
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any
from xmlrpc.client import ServerProxy

import click
import psutil
from supervisor.xmlrpc import SupervisorTransport  # type: ignore[import-untyped]  # it has no types

from tools.local import nginx, server, session, waf
from tools.local.nginx import HOST
from tools.stack import machine
from tools.stack.base import READY_TIMEOUT_S, StackError, Unit, check_forms, check_server, is_on, last_lines, other_server, read_number
from tools.stack.machine import Account
from tools.stack.waiting import alive_path, ready_path, wait_for_answer

HERE = Path(__file__).parent
DEFAULT_PORT, DEFAULT_REPLICAS = 8080, 3  # as in docker-compose.yml
APPS = [f"app-{number}" for number in range(1, 33)]  # numprocs in supervisord.conf
# The last two digits of their ports, as there. All that a stack has begin with the same three.
PORTS = {"downstream": 40, "gateway-status": 41, "waf": 42, "waf-status": 43, "waf-inside": 44, "waf-self-test": 45}
PORTS |= {name: number for number, name in enumerate(APPS, 1)}
STOP_S = 115  # the sum of stopwaitsecs there: it stops one group after the other
# After a reload the old workers of nginx finish what they have begun; an instance that leaves waits for them this long.
RELOAD_TIMEOUT_S = 10
# The longest path that fits into a socket address: 108 bytes on Linux, 104 on macOS, with a zero at the end.
SOCKET_PATH_MAX = 103
# What one command must tell the next: the settings of `up`, LOCAL_USER (of the processes), and what tools/local/run expects.
Record = dict[str, str]


class LocalStack:
    """nginx as gateway and as WAF, gunicorn instances and, with LAB_ENABLED=1, the slow downstream.

    `.run/<name>/run` lives as long as the processes; `.run/<name>/data` (database, secret) outlives them. Both belong to the user of the
    processes, what is beside them (nginx's configuration) to the user of this program.
    """

    runtime = "local"

    def __init__(self, name: str, *, root: Path, settings: Mapping[str, str]) -> None:
        self.name = name
        self._root = root
        self._settings = dict(settings)
        self._folder = root / ".run" / name
        self._run, self._conf = self._folder / "run", self._folder / "conf"

    @property
    def url(self) -> str:
        record = self._record()
        return f"http://{HOST}:{record['GATEWAY_PORT'] if record else self._gateway_port()}"

    @property
    def replicas(self) -> int:
        return sum(unit.service == "app" for unit in self.processes())

    def up(self, *, build: bool = True) -> None:
        if session.supervisord(self._run):
            click.echo(f"{self.name} runs already, with the settings it was started with; make down first to change them.")
            return
        self._sweep()
        try:
            self._start()
        except BaseException:
            with suppress(StackError):  # what went wrong first is what the user must hear
                self._sweep()
            raise

    def down(self, *, volumes: bool = False) -> None:
        self._sweep()
        if volumes:
            shutil.rmtree(self._folder, ignore_errors=True)
        for folder in (self._folder, self._folder.parent):
            with suppress(OSError):  # not empty: data, or other stacks
                folder.rmdir()

    def scale(self, service: str, count: int) -> None:
        if service != "app" or not 1 <= count <= len(APPS):
            raise StackError(f"the local runtime can scale app, from 1 to {len(APPS)} instances, not {service} to {count}", exit_code=2)
        record, before = self._running(), self.replicas
        self._start_programs(record, APPS[before:count])
        self._configure_nginx(record, count)
        self._reload(record)
        self._control("stopProcess", APPS[count:before])

    def restart(self, service: str, env: Mapping[str, str]) -> None:
        if service != "app" or env:
            raise StackError("the local runtime can only begin app anew, with the settings of `up`", exit_code=2)
        record, apps = self._running(), APPS[: self.replicas]
        self._control("stopProcess", apps)
        self._start_programs(record, apps)
        self._wait_for(record, "gateway")

    def logs(self, service: str | None = None) -> str:
        files = self._log_files(service)
        width = max((len(path.stem) for path in files), default=0)
        return "".join(f"{path.stem:{width}} | {line}\n" for path in files for line in path.read_text(errors="replace").splitlines())

    def follow_logs(self, service: str | None = None) -> None:
        with suppress(KeyboardInterrupt):
            subprocess.run(["tail", "-n", "100", "-F", *self._log_files(service)], check=False)

    def _log_files(self, service: str | None) -> list[Path]:
        return [path for path in sorted(self._run.glob("log/*.log")) if service in {None, path.stem, path.stem.partition("-")[0]}]

    def exec(self, service: str, argv: list[str], *, index: int = 1) -> CompletedProcess[str]:
        record, states = self._running(), self._states()
        name = f"{service}-{index}" if service == "app" else service
        if name not in states:
            raise StackError(f"{name} does not run", hint=f"running: {', '.join(states)}", exit_code=2)
        return self._ask(record, argv)

    def nginx_config(self) -> str:
        return self._run_as(self._running(), ["nginx", "-e", "stderr", "-c", str(self._conf / "gateway/nginx.conf"), "-T"])

    def processes(self) -> list[Unit]:
        record, states = self._record(), self._states()
        return [
            Unit(name.partition("-")[0], str(states[name][1]), self._address(record, name), states[name][0].lower())
            for name in ("gateway", "waf", *APPS, "downstream")
            if record and name in states and states[name][1]
        ]

    # --- start

    def _start(self) -> None:
        if len(os.fsencode(self._run / "supervisor.sock")) > SOCKET_PATH_MAX:
            hint = "put the project into a folder with a shorter path"
            raise StackError(f"the path {self._run} is too long for a socket in it", hint=hint)
        binary, version = machine.require_nginx(self._settings)
        machine.require_port(HOST, self._gateway_port())
        replicas = read_number(self._settings, "APP_REPLICAS", DEFAULT_REPLICAS, low=1, high=len(APPS))
        check_forms(self._settings)
        check_server(self._settings, self._root)
        programs = [*APPS[:replicas], *(["downstream"] if is_on(self._settings, "LAB_ENABLED") else [])]
        found = server.install(other_server(self._settings, self._root), self._root)
        user = machine.give(self._run, self._folder / "data", readable=[self._folder, self._root / "app", HERE])
        record = {
            **self._settings,
            "GATEWAY_PORT": str(self._gateway_port()),
            "LOCAL_FOLDER": str(self._folder),
            "LOCAL_PORTS": machine.free_hundred(avoid=self._gateway_port()),
            "LOCAL_ROOT": str(self._root),
            "LOCAL_USER": user.name or "",
            "PATH": ":".join(map(str, [Path(sys.executable).parent, Path(binary).parent, self._settings.get("PATH", os.defpath)])),
        }
        for folder in found:
            record |= {"PATH": f"{folder}/bin:{record['PATH']}", "PYTHONPATH": str(folder)}
        self._introduce(version)
        record["WAF_MODE"] = self._waf_mode(record)
        click.echo("".join(f"{note}\n" for note in self._configure_nginx(record, replicas)), nl=False)
        self._run_as(record, [str(HERE / "start")])
        # Not by `run`, which each program is started by: what it has in its environment is the record.
        argv = ["supervisord", "--configuration", str(HERE / "supervisord.conf"), "--pidfile", str(self._run / "supervisord.pid")]
        if (answer := user.run(argv, cwd=self._run, env=record)).returncode:
            raise StackError("supervisord does not start", details=last_lines(answer.stderr))
        self._start_programs(record, programs)
        # nginx comes last: it would count an app that is still starting as failed, and leave it out for a while.
        self._control("startProcess", ["gateway"] if record["WAF_MODE"] == "Off" else ["waf", "gateway"])
        self._wait_for(record, "gateway")
        if record["WAF_MODE"] != "Off":
            self._run_as(record, ["/bin/sh", str(self._conf / "waf" / "self-test")])

    def _gateway_port(self) -> int:
        return read_number(self._settings, "GATEWAY_PORT", DEFAULT_PORT, low=1, high=65535)

    def _introduce(self, version: str) -> None:
        database = "the database of DATABASE_URL" if self._settings.get("DATABASE_URL") else "SQLite instead of PostgreSQL"
        click.echo(f"Differs from Compose: {database}, nginx {version} of this machine, no containers (no limits of CPU and memory).")
        if (bind := self._settings.get("GATEWAY_BIND") or HOST) != HOST:
            click.echo(f"GATEWAY_BIND={bind} is left out: the local runtime listens on {HOST} only.")

    def _waf_mode(self, record: Record) -> str:
        mode = record.get("WAF_MODE") or "On"
        lack = waf.lacks(nginx.Nginx.ask(machine.require_nginx(record)[0]), record) if mode != "Off" else ""
        if lack and record.get("WAF_MODE"):
            raise StackError(f"WAF_MODE={mode}: {lack}", hint="install that, or set WAF_MODE=Off", exit_code=2)
        if lack:
            click.echo(f"There is NO web application firewall: {lack}.")
        return "Off" if lack else mode

    def _configure_nginx(self, record: Record, replicas: int) -> list[str]:
        """Write and test the configuration of both nginx; returns what is different on this machine."""
        program = nginx.Nginx.ask(machine.require_nginx(record)[0])
        as_root = os.geteuid() == 0 and not record["LOCAL_USER"]
        apps = [self._address(record, name) for name in APPS[:replicas]]
        notes = nginx.write(
            "nginx",
            self._conf / "gateway",
            nginx=program,
            places={
                "/run/nginx": self._run / "gateway",
                "/srv/static": self._run / "static",
                "/srv/files": self._run / "files",
                "/var/lib/maintenance": self._folder / "data" / "maintenance",
            },
            edits=[
                *nginx.listen({8080: self._address(record, "gateway"), 8081: self._address(record, "gateway-status")}),
                *nginx.servers("app", apps),
                *nginx.servers("waf", [self._address(record, "waf")]),
                # There it is for three containers.
                nginx.Edit("docker-entrypoint.d/17-derived.envsh", r"\+ 5\) / 6", f"+ {2 * replicas - 1}) / {2 * replicas}"),
            ],
            as_root=as_root,
        )
        self._run_as(record, nginx.command(self._conf / "gateway", "-t", "-q"))
        if record["WAF_MODE"] != "Off":
            ports = [int(self._address(record, name).rpartition(":")[2]) for name in ("waf", "waf-status", "waf-inside", "waf-self-test")]
            waf.write(self._conf / "waf", program=program, run=self._run / "waf", ports=ports, upstreams=apps, as_root=as_root)
            self._run_as(record, nginx.command(self._conf / "waf", "-t", "-q"))
        return notes

    # --- programs

    def _address(self, record: Record, name: str) -> str:
        return f"{HOST}:{record['GATEWAY_PORT']}" if name == "gateway" else f"{HOST}:{record['LOCAL_PORTS']}{PORTS[name]:02}"

    def _ask(self, record: Record, argv: list[str]) -> CompletedProcess[str]:
        """Run a command as the processes run: with their settings, as their user."""
        return Account(record["LOCAL_USER"] or None).run([str(HERE / "run"), *argv], cwd=self._run, env=record)

    def _run_as(self, record: Record, argv: list[str]) -> str:
        """Return what it prints; when it fails, raise with what it said last and its exit code."""
        answer = self._ask(record, argv)
        if answer.returncode:
            *details, message = (answer.stderr or answer.stdout).strip().splitlines() or [f"{argv[0]} failed"]
            raise StackError(message, details=last_lines("\n".join(details)), exit_code=answer.returncode)
        return answer.stdout

    def _supervisor(self, method: str, *arguments: str) -> Any:
        """Ask supervisord, whose words are those of supervisorctl; None when it does not run, or when it refuses."""
        transport = SupervisorTransport(serverurl=f"unix://{self._run / 'supervisor.sock'}")
        with suppress(OSError, HTTPException, xmlrpc.client.Error), ServerProxy(f"http://{HOST}", transport) as proxy:
            return getattr(proxy.supervisor, method)(*arguments)
        return None

    def _control(self, method: str, programs: Iterable[str], *arguments: str) -> None:
        """Let supervisord do it to all of them at the same time; how that ended is in their states."""
        names = [f"app:{name}" if name in APPS else name for name in programs]
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda name: self._supervisor(method, name, *arguments), names))

    def _states(self) -> dict[str, tuple[str, int]]:
        """Map each program that was started to its state ("RUNNING", "BACKOFF", ...) and its pid, 0 when it does not run."""
        programs = [row for row in self._supervisor("getAllProcessInfo") or () if row["statename"] != "STOPPED"]
        return {row["name"]: (row["statename"], row["pid"] if row["statename"] == "RUNNING" else 0) for row in programs}

    def _start_programs(self, record: Record, names: list[str]) -> None:
        self._control("startProcess", names)
        for name in names:
            self._wait_for(record, name)

    def _wait_for(self, record: Record, name: str) -> None:
        # HEALTH_PATH is the application's; the slow service of the lab is the kit's own.
        path = {"gateway": ready_path(record), "downstream": "/healthz"}.get(name, alive_path(record))

        def check() -> None:
            for program, (state, _) in self._states().items():
                if program in {name, "waf"} and state not in {"STARTING", "RUNNING"}:
                    raise StackError(f"{program} ended while it was starting", details=last_lines(self.logs(program)))

        wait_for_answer(f"http://{self._address(record, name)}{path}", record, READY_TIMEOUT_S, check)

    def _reload(self, record: Record) -> None:
        """Make nginx read its configuration anew; returns when the old workers are gone, or have been given time to go."""
        pids = {name: pid for name, (_, pid) in self._states().items() if name in {"gateway", "waf"}}
        old = [worker for pid in pids.values() for worker in psutil.Process(pid).children()]
        self._control("signalProcess", pids, "HUP")
        psutil.wait_procs(old, timeout=RELOAD_TIMEOUT_S)
        self._wait_for(record, "gateway")

    def _record(self) -> Record | None:
        """Return what it was started with, None when it does not run."""
        try:
            leader = session.supervisord(self._run)
            return leader.environ() if leader else None
        except psutil.AccessDenied:
            raise StackError(f"{self.name} belongs to another user", hint="do this as the user who started it") from None

    def _running(self) -> Record:
        if record := self._record():
            return record
        raise StackError(f"{self.name} does not run", hint="run make up")

    def _sweep(self) -> None:
        """End what is left of the processes and remove their folders."""
        session.end(self._run, STOP_S)
        try:
            for path in (self._run, self._conf):
                if path.exists():
                    shutil.rmtree(path)
        except OSError as error:
            raise StackError(f"cannot remove {error.filename}: {error.strerror}") from None
