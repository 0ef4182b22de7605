"""Where no engine answers: the same nginx and gunicorn files as plain processes on loopback."""

import json
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import click
import psutil

from tools.local import nginx, waf
from tools.stack import machine
from tools.stack.base import DEFAULT_PORT, DEFAULT_REPLICAS, READY_TIMEOUT_S, StackError, Unit, is_on, last_lines, read_number
from tools.stack.machine import SERVICE_USERS, Account, choose_account
from tools.stack.supervision import Leader, Program, Supervisor, stop
from tools.stack.waiting import alive_path, answers_ok, ready_path, wait_until

HOST = "127.0.0.1"
# One machine without limits per process: more than this is a mistake, not a wish.
MAX_REPLICAS = 32
# As the stop times in docker-compose.yml: above gunicorn's graceful_timeout (30 s) and nginx's worker_shutdown_timeout.
GUNICORN_STOP_S = 40
NGINX_STOP_S = 35
DOWNSTREAM_STOP_S = 5
# After a reload the old workers of nginx finish what they have begun; an instance that leaves waits for them this long.
RELOAD_TIMEOUT_S = 10
RECORD = "state.json"


@dataclass(frozen=True, slots=True)
class Record:
    """What one command must tell the next about a running stack."""

    leader: Leader
    nginx: str  # path
    user: str | None  # whose processes they are; None: the user who started the stack
    gateway_port: int
    status_port: int
    app_ports: tuple[int, ...]
    downstream_port: int | None  # None: LAB_ENABLED was off
    waf_ports: tuple[int, int, int] | None = None  # None: WAF_MODE was Off, or this machine lacks what it needs
    app_env: Mapping[str, str] = field(default_factory=dict)  # laid over the settings by `restart`

    @classmethod
    def from_json(cls, text: str) -> "Record":
        fields: dict[str, Any] = json.loads(text)
        waf_ports = tuple(fields["waf_ports"]) if fields["waf_ports"] else None
        return cls(**fields | {"leader": Leader(**fields["leader"]), "app_ports": tuple(fields["app_ports"]), "waf_ports": waf_ports})


def is_recorded(root: Path, name: str) -> bool:
    """Say whether processes of the local stack `name` are alive."""
    record = _read_record(root / ".run" / name / RECORD)
    return record is not None and bool(record.leader.session())


class LocalStack:
    """nginx as gateway, nginx as WAF, gunicorn instances and, with LAB_ENABLED=1, the slow downstream.

    `.run/<name>/run` lives as long as the processes; `.run/<name>/data` (database, secret) outlives them.
    Both belong to the user of the processes, the record beside them to the user of this program.
    """

    runtime = "local"

    def __init__(self, name: str, *, root: Path, settings: Mapping[str, str]) -> None:
        self.name = name
        self._root = root
        self._settings = dict(settings)
        self._folder = root / ".run" / name
        self._run = self._folder / "run"
        self._data = self._folder / "data"
        self._supervisor = Supervisor(self._run)

    @property
    def url(self) -> str:
        record = self._record()
        port = record.gateway_port if record else read_number(self._settings, "GATEWAY_PORT", DEFAULT_PORT, low=1, high=65535)
        return f"http://{HOST}:{port}"

    @property
    def replicas(self) -> int:
        return sum(unit.service == "app" for unit in self.processes())

    def up(self, *, wait: bool = True, build: bool = True) -> None:
        record = self._record()
        if record and record.leader.process():
            click.echo(f"{self.name} runs already, with the settings it was started with; make down first to change them.")
            return
        self._sweep(record)
        try:
            self._start(wait=wait)
        except BaseException:
            # What went wrong first is what the user must hear.
            with suppress(StackError):
                self._sweep(self._record())
            raise

    def down(self, *, volumes: bool = False) -> None:
        record = self._record()
        if record and record.leader.process():
            # In a row, as Compose does it: what depends on others goes first.
            with suppress(StackError):
                self._supervisor.stop_programs(first="gateway")
        self._sweep(record)
        if volumes:
            shutil.rmtree(self._folder, ignore_errors=True)
        for folder in (self._folder, self._folder.parent):
            with suppress(OSError):  # not empty: data, or other stacks
                folder.rmdir()

    def scale(self, service: str, count: int) -> None:
        if service != "app":
            raise StackError(f"the local runtime can scale app, not {service}", exit_code=2)
        if not 1 <= count <= MAX_REPLICAS:
            raise StackError(f"{count} instances are not from 1 to {MAX_REPLICAS}", exit_code=2)
        record = self._running()
        ports = record.app_ports[:count]
        ports += tuple(machine.free_ports(count - len(ports), avoid=ports))
        changed = replace(record, app_ports=ports)
        if count > len(record.app_ports):
            new = self._programs(changed)[len(record.app_ports) : count]
            self._supervisor.add(new, all_programs=[*self._programs(changed), self._gateway(changed)])
            self._save(changed)
            self._wait_for_apps(ports[len(record.app_ports) :])
        self._render(changed, quiet=True)
        self._reload(changed)
        if count < len(record.app_ports):
            old = self._programs(record)[count : len(record.app_ports)]
            self._supervisor.remove(old, all_programs=[*self._programs(changed), self._gateway(changed)])
            self._save(changed)

    def restart(self, service: str, env: Mapping[str, str]) -> None:
        if service != "app":
            raise StackError(f"the local runtime can restart app, not {service}", exit_code=2)
        record = self._running()
        old, count = self._programs(record), len(record.app_ports)
        self._supervisor.remove(old[:count], all_programs=[*old[count:], self._gateway(record)])
        changed = replace(record, app_env=dict(env))
        self._save(changed)
        new = self._programs(changed)
        self._supervisor.add(new[:count], all_programs=[*new, self._gateway(changed)])
        self._wait_for_apps(changed.app_ports)
        self._wait_for("the gateway", changed.gateway_port, ready_path(self._settings))

    def logs(self, service: str | None = None) -> str:
        files = self._log_files(service)
        width = max((len(path.stem) for path in files), default=0)
        return "".join(f"{path.stem:{width}} | {line}\n" for path in files for line in path.read_text(errors="replace").splitlines())

    def follow_logs(self, service: str | None = None) -> None:
        files = [str(path) for path in self._log_files(service)]
        with suppress(KeyboardInterrupt):
            subprocess.run(["tail", "-n", "100", "-F", *files], check=False)

    def exec(self, service: str, argv: list[str], *, index: int = 1) -> CompletedProcess[str]:
        record = self._running()
        programs = {program.name: program for program in [*self._programs(record), self._gateway(record)]}
        name = f"{service}-{index}" if service == "app" else service
        if name not in programs:
            raise StackError(f"{name} does not run", hint=f"running: {', '.join(programs)}", exit_code=2)
        program = programs[name]
        return Account(record.user).run(argv, cwd=program.cwd, env={**self._environment(record), **program.env})

    def nginx_config(self) -> str:
        record = self._running()
        answer = Account(record.user).run([*self._nginx(record), "-T"], cwd=self._run, env=self._settings)
        if answer.returncode:
            raise StackError("nginx does not accept its configuration", details=last_lines(answer.stderr))
        return answer.stdout

    def processes(self) -> list[Unit]:
        record = self._record()
        if not record or not record.leader.process():
            return []
        apps = {f"app-{number}": port for number, port in enumerate(record.app_ports, 1)}
        waf_port = record.waf_ports[0] if record.waf_ports else None
        addresses = {"gateway": record.gateway_port, "waf": waf_port, **apps, "downstream": record.downstream_port}
        try:
            states = self._supervisor.states()
        except StackError:
            if record.leader.process():
                raise
            return []  # it ended while it was asked
        return [
            Unit(name.partition("-")[0], str(states[name][1]), f"{HOST}:{port}", states[name][0].lower())
            for name, port in addresses.items()
            if name in states and states[name][1]
        ]

    containers = processes

    # --- start

    def _start(self, *, wait: bool) -> None:
        self._supervisor.check()
        binary, version = machine.require_nginx(self._settings)
        gateway_port = read_number(self._settings, "GATEWAY_PORT", DEFAULT_PORT, low=1, high=65535)
        machine.require_port(HOST, gateway_port)
        replicas = read_number(self._settings, "APP_REPLICAS", DEFAULT_REPLICAS, low=1, high=MAX_REPLICAS)
        self._make_folders()
        self._check_gunicorn()
        account = choose_account([self._run, self._root / "app", self._root / "nginx", self._root / "waf"])
        without_waf = self._without_waf(binary)
        status, one, two, three, *ports = machine.free_ports(replicas + 5, avoid=(gateway_port,))
        draft = Record(
            leader=Leader(0, "", ""),
            nginx=binary,
            user=account.name,
            gateway_port=gateway_port,
            status_port=status,
            app_ports=tuple(ports[:replicas]),
            downstream_port=ports[-1] if is_on(self._settings, "LAB_ENABLED") else None,
            waf_ports=(one, two, three) if without_waf is None else None,
        )
        self._introduce(draft, version)
        if without_waf:
            click.echo(f"There is NO web application firewall: {without_waf}.")
        self._hand_over(account)
        self._render(draft, quiet=False)
        self._prepare(draft)
        leader = self._supervisor.start(self._environment(draft), account=account, root=self._root)
        record = replace(draft, leader=leader)
        self._save(record)
        programs = self._programs(record)
        self._supervisor.add(programs, all_programs=programs)
        # nginx comes last: it would count an app that is still starting as failed, and leave it out for a while.
        self._wait_for_apps(record.app_ports)
        gateway = self._gateway(record)
        self._supervisor.add([gateway], all_programs=[*programs, gateway])
        if wait:
            self._wait_for("the gateway", gateway_port, ready_path(self._settings))
            wait_until(self._supervisor.all_running, READY_TIMEOUT_S, "the processes do not stay up")

    def _introduce(self, record: Record, version: str) -> None:
        database = "the database of DATABASE_URL" if self._settings.get("DATABASE_URL") else "SQLite instead of PostgreSQL"
        click.echo(f"Differs from Compose: {database}, nginx {version} of this machine, no containers (no limits of CPU and memory).")
        if (bind := self._settings.get("GATEWAY_BIND") or HOST) != HOST:
            click.echo(f"GATEWAY_BIND={bind} is left out: the local runtime listens on {HOST} only.")
        if os.geteuid() == 0:
            reason = "" if record.user else f", because {SERVICE_USERS[0]} cannot read {self._root} with {sys.executable}"
            click.echo(f"You are root; the processes run as {record.user or 'root too'}{reason}.")

    def _without_waf(self, binary: str) -> str | None:
        """None: with the WAF. Else why not; nothing to say where WAF_MODE=Off wants it so."""
        mode = self._settings.get("WAF_MODE")
        if mode == "Off":
            return ""
        lack = waf.lacks(nginx.Nginx.ask(binary), self._settings)
        if lack and mode:
            raise StackError(f"WAF_MODE={mode}: {lack}", hint="install that, or set WAF_MODE=Off", exit_code=2)
        return lack or None

    def _make_folders(self) -> None:
        try:
            for folder in self._folders():
                folder.mkdir(parents=True, exist_ok=True)
                folder.chmod(0o755)
            self._data.chmod(0o700)
        except OSError as error:
            raise StackError(
                f"cannot write to {error.filename}: {error.strerror}", hint="put the project into a folder of your own"
            ) from None

    def _folders(self) -> list[Path]:
        return [self._run, self._supervisor.logs, *(self._run / name for name in ("nginx", "waf", "static", "tmp")), self._data]

    def _check_gunicorn(self) -> None:
        answer = subprocess.run(
            [sys.executable, "-m", "gunicorn_hooks"],
            cwd=self._root,
            env=self._settings,
            capture_output=True,
            text=True,
            check=False,
        )
        if answer.returncode:
            raise StackError((answer.stderr.strip().splitlines() or ["gunicorn_hooks failed"])[-1], exit_code=2)

    def _hand_over(self, account: Account) -> None:
        """Make the secret once, and give the folders to the user of the processes."""
        with suppress(FileExistsError):
            secret = os.open(self._data / "secret_key", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(secret, "w") as file:
                file.write(secrets.token_urlsafe(48))
        for path in [*self._folders(), *self._data.iterdir()]:
            account.own(path)

    def _prepare(self, record: Record) -> None:
        """Bring the database to the newest schema, and the static files into the folder that nginx serves.

        The database of another application than the sample site is that application's own business.
        """
        shutil.copytree(self._root / "app/kit_app/static", self._run / "static", dirs_exist_ok=True)
        steps = [("compiling the static files", ["-m", "flask", "--app", "kit_app", "digest", "compile"])]
        if self._app_module().startswith("kit_app:"):
            steps.append(("the migrations", ["-m", "flask", "--app", self._app_module(), "db", "upgrade"]))
        for what, arguments in steps:
            answer = Account(record.user).run([sys.executable, *arguments], cwd=self._root / "app", env=self._environment(record))
            if answer.returncode:
                raise StackError(f"{what} failed", details=last_lines(answer.stderr or answer.stdout))

    def _render(self, record: Record, *, quiet: bool) -> None:
        """Write the configuration of both nginx; what an older nginx cannot do is said."""
        addresses = [f"{HOST}:{port}" for port in record.app_ports]
        program = nginx.Nginx.ask(record.nginx)
        as_root = os.geteuid() == 0 and record.user is None
        behind = [f"{HOST}:{record.waf_ports[0]}"] if record.waf_ports else []
        upstreams = [*nginx.servers("app", addresses), *nginx.servers("waf", behind)]
        notes = nginx.write(
            nginx.GATEWAY,
            self._run / "conf",
            nginx=program,
            places={"/run/nginx": self._run / "nginx", "/srv/static": self._run / "static"},
            edits=[*nginx.listen({8080: record.gateway_port, 8081: record.status_port}), *upstreams],
            as_root=as_root,
        )
        if record.waf_ports:
            waf.write(
                self._run / "waf-conf",
                program=program,
                run=self._run / "waf",
                ports=record.waf_ports,
                upstreams=addresses,
                as_root=as_root,
            )
        for conf in self._confs(record).values():
            answer = Account(record.user).run(nginx.command(conf, "-t", "-q"), cwd=self._root, env=self._nginx_settings(record))
            if answer.returncode:
                lines = answer.stderr.strip().splitlines() or [f"{conf}/docker-entrypoint.sh failed"]
                raise StackError(lines[0], details="\n".join(lines[1:]), exit_code=answer.returncode)
            notes += answer.stderr.splitlines()
        if notes and not quiet:
            click.echo("\n".join(notes))

    def _confs(self, record: Record) -> dict[str, Path]:
        """The folder of each nginx's configuration."""
        return {"gateway": self._run / "conf", **({"waf": self._run / "waf-conf"} if record.waf_ports else {})}

    def _nginx_settings(self, record: Record) -> dict[str, str]:
        """What the parts of docker-entrypoint.d find in their environment."""
        bound = self._settings.get("MAX_IN_FLIGHT") or "128"
        share = {"APP_MAX_CONNS": str(nginx.share(int(bound), len(record.app_ports)))} if bound.isdecimal() else {}
        path = f"{Path(record.nginx).parent}:{self._settings.get('PATH', os.defpath)}:{machine.MORE_FOLDERS}"
        mode = {} if record.waf_ports else {"WAF_MODE": "Off"}
        return {**self._settings, **share, **mode, "LISTENERS": "http", "PATH": path}

    # --- what runs

    def _environment(self, record: Record) -> dict[str, str]:
        """What the processes inherit: the user's settings, and what is different for processes."""
        defaults = {"APP_ENV": "production", "DATABASE_URL": f"sqlite:///{self._data / 'site.db'}"}
        if not self._settings.get("SECRET_KEY") and not self._settings.get("SECRET_KEY_FILE"):
            defaults["SECRET_KEY_FILE"] = str(self._data / "secret_key")
        if record.downstream_port:
            defaults["LAB_DOWNSTREAM_URL"] = f"http://{HOST}:{record.downstream_port}"
        given = {key: value for key, value in self._settings.items() if value or key not in defaults}
        return {
            **defaults,
            **given,
            "APP_MODULE": self._app_module(),
            "STATIC_ROOT": str(self._run / "static"),
            "PATH": f"{Path(sys.executable).parent}:{self._settings.get('PATH', os.defpath)}",
            # Temporary files go where `down` clears up; the home of root would be out of reach.
            "HOME": str(self._run / "tmp"),
            "TMPDIR": str(self._run / "tmp"),
            "PYTHONDONTWRITEBYTECODE": "1",
            "FLASK_SKIP_DOTENV": "1",
        }

    def _app_module(self) -> str:
        return self._settings.get("APP_MODULE") or "kit_app:create_app()"

    def _programs(self, record: Record) -> list[Program]:
        """Everything but the gateway, the app's instances first."""
        gunicorn = [sys.executable, "-m", "gunicorn", "--config", str(self._root / "gunicorn.conf.py")]
        apps = [
            Program(
                f"app-{number}",
                [*gunicorn, "--bind", f"{HOST}:{port}"],
                self._root / "app",
                dict(record.app_env),
                stop_wait_s=GUNICORN_STOP_S,
            )
            for number, port in enumerate(record.app_ports, 1)
        ]
        return [*apps, *([self._downstream(record)] if record.downstream_port else []), *([self._waf(record)] if record.waf_ports else [])]

    def _waf(self, record: Record) -> Program:
        # By its entrypoint, which starts what prints the audit lines.
        argv = nginx.command(self._confs(record)["waf"], "-g", "daemon off;")
        return Program("waf", argv, self._run, self._nginx_settings(record), stop_signal="QUIT", stop_wait_s=NGINX_STOP_S)

    def _downstream(self, record: Record) -> Program:
        argv = [sys.executable, "-m", "kit_lab.downstream"]
        env = {"HOST": HOST, "PORT": str(record.downstream_port)}
        return Program("downstream", argv, self._root / "app", env, stop_wait_s=DOWNSTREAM_STOP_S)

    def _gateway(self, record: Record) -> Program:
        argv = [*self._nginx(record), "-g", "daemon off;"]
        return Program("gateway", argv, self._run, stop_signal="QUIT", stop_wait_s=NGINX_STOP_S)

    def _nginx(self, record: Record) -> list[str]:
        # Without -e nginx complains at start that it may not write to its compiled-in log file.
        return [record.nginx, "-e", "stderr", "-c", str(self._run / "conf" / "nginx.conf")]

    # --- waiting

    def _wait_for_apps(self, ports: Sequence[int]) -> None:
        for port in ports:
            self._wait_for("the app", port, alive_path(self._settings))

    def _wait_for(self, what: str, port: int, path: str) -> None:
        def answers() -> bool:
            self._supervisor.require_alive()
            return answers_ok(f"http://{HOST}:{port}{path}", self._settings)

        try:
            wait_until(answers, READY_TIMEOUT_S, f"{what} does not answer GET {path} on port {port} with 200")
        except StackError as error:
            raise StackError(error.message, hint=error.hint, details=error.details or last_lines(self.logs())) from None

    def _reload(self, record: Record) -> None:
        """Make each nginx read its configuration anew; returns when the old workers are gone, or have been given time to go."""
        self.nginx_config()  # refuses a broken configuration, which nginx itself would only log
        for name in self._confs(record):
            self._reload_one(name)
        self._wait_for("the gateway", record.gateway_port, ready_path(self._settings))

    def _reload_one(self, name: str) -> None:
        parent = psutil.Process(self._supervisor.states()[name][1])
        old = _workers(parent)
        self._supervisor.signal(name, "HUP")
        wait_until(lambda: bool(_workers(parent) - old), RELOAD_TIMEOUT_S, f"{name}: nginx did not reload")
        with suppress(StackError):
            wait_until(lambda: not old & _workers(parent), RELOAD_TIMEOUT_S, "")

    # --- the record

    def _record(self) -> Record | None:
        return _read_record(self._folder / RECORD)

    def _running(self) -> Record:
        record = self._record()
        if not record or not record.leader.process():
            raise StackError(f"{self.name} does not run", hint="run make up")
        return record

    def _save(self, record: Record) -> None:
        unfinished = self._folder / f"{RECORD}.new"
        unfinished.write_text(json.dumps(asdict(record)))
        unfinished.rename(self._folder / RECORD)

    def _sweep(self, record: Record | None) -> None:
        """End what is left of the processes and remove their folder."""
        if record:
            stop(record.leader, patience_s=NGINX_STOP_S + GUNICORN_STOP_S)
        try:
            if record:
                (self._folder / RECORD).unlink()
            if self._run.exists():
                shutil.rmtree(self._run)
        except OSError as error:
            raise StackError(f"cannot remove {error.filename}: {error.strerror}") from None

    def _log_files(self, service: str | None) -> list[Path]:
        files = sorted(self._supervisor.logs.glob("*.log"))
        return [path for path in files if service in {None, path.stem, path.stem.partition("-")[0]}]


def _workers(parent: psutil.Process) -> set[int]:
    """Of the master process of an nginx. (jq, which prints the WAF's audit lines, is its child too.)"""
    return {child.pid for child in parent.children() if child.name() == "nginx"}


def _read_record(path: Path) -> Record | None:
    try:
        return Record.from_json(path.read_text())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise StackError(f"cannot read {path}: {error}", hint="remove it after ending what still runs") from None
