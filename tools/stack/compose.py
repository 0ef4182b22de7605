"""The real thing: containers, driven through the `docker compose` command."""

import json
import subprocess
from collections.abc import Container, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from subprocess import CompletedProcess
from typing import IO, Any

import click

from tools.stack import env_file, machine
from tools.stack.base import LOG_TAIL_LINES, READY_TIMEOUT_S, StackError, Unit, check_forms, check_server, is_on, last_lines, other_server
from tools.stack.waiting import ready_path, wait_for_answer

# The order in which a request meets them; services that are not named here come last.
ORDER = ("gateway", "waf", "app", "downstream", "database")
GATEWAY_PORT_IN_CONTAINER = "8080"
TLS_PORT_IN_CONTAINER = "8443"
LAB = "compose/lab.yaml"
OVERRIDES = ("docker-compose.override.yml", "docker-compose.override.yaml")
# The address of a published port that listens on every interface is not one to connect to.
WILDCARDS = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}  # noqa: S104 - compared with, never bound


def docker(*arguments: str) -> str:
    """Run a docker command and return what it prints; StackError, with its last lines, when it fails."""
    answer = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)
    if answer.returncode:
        raise StackError(f"docker {arguments[0]} failed", details=last_lines(answer.stderr))
    return answer.stdout.strip()


def addresses(container: str) -> list[str]:
    """Return the addresses of a container, one in each of its networks."""
    return docker("inspect", "--format", "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}", container).split()


# How a service that refuses wrong settings is asked about them. SERVER: the image's own; without one it is gunicorn's.
_CHECK_APP = 'cd /srv; if [ "${SERVER:-gunicorn}" = gunicorn ]; then set -- -m gunicorn_hooks; else set -- servers/start.py "$SERVER"; fi; '
CHECKS = {"app": ("sh", "-ec", _CHECK_APP + 'python "$@" --check-config'), "gateway": ("nginx", "-t"), "waf": ("nginx", "-t")}


def trial(service: str) -> tuple[str, ...]:
    """Return the arguments of `docker compose` that let a new container of CHECKS read its settings, and end.

    Without the alias of `app`: this container does not have it, so while none of the app runs nobody has.
    """
    return ("run", "--rm", "--no-deps", "--no-TTY", "--env", "GATEWAY_NETWORK_ALIAS=", service, *CHECKS[service])


# Status, health ("" without a check), exit code of the last end, and how often the engine has begun it anew.
_STATE = "{{.State.Status}},{{if .State.Health}}{{.State.Health.Status}}{{end}},{{.State.ExitCode}},{{.RestartCount}}"
# What the health checks said, the last one last.
_PROBES = "{{if .State.Health}}{{range .State.Health.Log}}{{.Output}}{{end}}{{end}}"


class ComposeStack:
    """One Compose project. The Compose file in the root folder says what it consists of.

    The public methods up to `processes` are those of both runtimes.
    """

    runtime = "compose"

    def __init__(self, name: str, *, root: Path, settings: Mapping[str, str], overrides: Sequence[Path] = ()) -> None:
        self.name, self.root = name, root
        self._given = self.settings = dict(settings)  # over .env and the environment
        self._overrides = [path.resolve() for path in overrides]
        self._check_owner()

    @property
    def url(self) -> str:
        """Where the gateway answers, "http://127.0.0.1:8080", without a slash at the end."""
        # With compose/tls.yaml the plain port only leads to the other one. A port that the image names and nobody publishes is ":0".
        secure = [line for line in self.compose("port", "gateway", TLS_PORT_IN_CONTAINER).stdout.split() if not line.endswith(":0")]
        scheme = "https" if secure else "http"
        published = secure or self._read("port", "gateway", GATEWAY_PORT_IN_CONTAINER).split()
        if not published:
            raise StackError(f"the stack {self.name} publishes no port", hint="run make up")
        host, _, port = published[0].rpartition(":")
        return f"{scheme}://{WILDCARDS.get(host, host)}:{port}"

    @property
    def replicas(self) -> int:
        return sum(unit.service == "app" for unit in self.processes())

    def up(self, *, build: bool = True) -> None:
        """Start everything that is not running; returns when the gateway passes requests to a ready app."""
        check_forms(self.settings)
        check_server(self.settings, self.root)
        services = json.loads(self._read("config", "--format", "json"))["services"]
        self._warn()
        found = self._all()
        self._check_machine(services, found)
        fresh = not found
        # Built apart, so that the time it takes does not count against the wait.
        if build:
            self._run("build")
        if not fresh:
            self._check(services)
        try:
            self._run("up", "--detach", "--wait", "--wait-timeout", str(READY_TIMEOUT_S), *(["--no-build"] if build else []))
            self._wait()
        except BaseException as error:
            details = self._explain()
            # A stack that served before this call is left alone: it may serve still. Volumes are kept: they may be older than this call.
            if fresh:
                self._run("down", "--remove-orphans", check=False)
            if isinstance(error, StackError):
                raise StackError(error.message, hint=error.hint, details=details) from None
            raise

    def down(self, *, volumes: bool = False) -> None:
        """Stop everything; with `volumes`, delete the database and the generated secrets too."""
        self._run("down", "--remove-orphans", *(["--volumes"] if volumes else []))

    def scale(self, service: str, count: int) -> None:
        """Run `count` instances of `service`; returns when the new ones are ready."""
        self._run(
            *("up", "--detach", "--no-recreate", "--no-deps", "--no-build", "--wait", "--wait-timeout", str(READY_TIMEOUT_S)),
            *("--scale", f"{service}={count}", service),
        )

    def restart(self, service: str, env: Mapping[str, str]) -> None:
        """Replace all instances of `service` by fresh ones, `env` laid over the settings of `up`; returns when these are ready."""
        self.settings = {**self._given, **env}
        # Its progress is for nobody: whoever restarts often says so, and a failure is told with the last lines.
        self._read(
            "up", "--detach", "--force-recreate", "--no-deps", "--no-build", "--wait", "--wait-timeout", str(READY_TIMEOUT_S), service
        )
        self._wait()

    def logs(self, service: str | None = None) -> str:
        """Return what the services have written so far, each line with the instance that wrote it."""
        return self._read("logs", "--no-color", *([service] if service else []))

    def follow_logs(self, service: str | None = None) -> None:
        """Print the logs and go on printing until interrupted."""
        self._run("logs", "--follow", "--tail", "100", *([service] if service else []), check=False)

    def exec(self, service: str, argv: list[str], *, index: int = 1) -> CompletedProcess[str]:
        """Run a command beside instance `index` (from 1) of `service`, with its settings and its user; never raises for its exit code."""
        # A rollout leaves containers with higher numbers, so the first is asked for without one.
        return self.compose("exec", "--no-TTY", *(["--index", str(index)] if index > 1 else []), service, *argv)

    def nginx_config(self) -> str:
        """Return the configuration that nginx reads, complete (`nginx -T`)."""
        answer = self.exec("gateway", ["nginx", "-T"])
        if answer.returncode:
            raise StackError("nginx does not accept its configuration", details=last_lines(answer.stderr))
        return answer.stdout

    def processes(self) -> list[Unit]:
        """Return what runs, in the order a request meets it."""
        return [_unit(row, self._addresses(row["ID"])) for row in self._all() if row["State"] == "running"]

    def units(self, service: str = "") -> list[Unit]:
        """Every container of the stack, or of one of its services, those that have ended too."""
        return [_unit(row, "") for row in self._all() if service in {"", row["Service"]}]

    def image(self, service: str) -> str:
        """Return the name of the image of app or gateway, as the Compose file has it."""
        return self.setting(f"{service.upper()}_IMAGE") or f"{self.name}-{service}"

    def setting(self, name: str) -> str:
        """Return one setting, "" when it has none."""
        return self.settings.get(name, "").strip()

    def compose(self, *arguments: str) -> CompletedProcess[str]:
        """Run `docker compose` on this stack, and keep what it prints; never raises for its exit code."""
        return self._call(*arguments, capture_output=True, text=True)

    def pipe(self, *arguments: str, stdin: IO[bytes] | None = None, stdout: IO[bytes] | None = None) -> CompletedProcess[bytes]:
        """Run `docker compose` on this stack between two files; never raises for its exit code."""
        return self._call(*arguments, stdin=stdin or subprocess.DEVNULL, stdout=stdout or subprocess.DEVNULL, stderr=subprocess.PIPE)

    def require(self, failure: str, *arguments: str, hint: str = "", exit_code: int = 1) -> str:
        """Run `docker compose` on this stack and return what it prints; StackError(failure), with its last lines, when it fails."""
        answer = self.compose(*arguments)
        if answer.returncode:
            raise StackError(failure, hint=hint, details=last_lines(answer.stderr or answer.stdout), exit_code=exit_code)
        return answer.stdout

    def _wait(self) -> None:
        """Healthy containers are not yet a request that passes through all of them."""
        wait_for_answer(f"{self.url}{ready_path(self.settings)}", self.settings, READY_TIMEOUT_S)

    def _check_owner(self) -> None:
        """Raise when containers of this name are those of another checkout: `down` or a rollout would take them."""
        label = "com.docker.compose.project"
        found = docker("ps", "--all", "--filter", f"label={label}={self.name}", "--format", f'{{{{.Label "{label}.working_dir"}}}}')
        for folder in map(Path, found.splitlines()):
            if folder.is_dir() and not folder.samefile(self.root):
                hint = "write another COMPOSE_PROJECT_NAME, and another GATEWAY_PORT, into .env"
                raise StackError(f"{self.name} is the name of the stack in {folder}", hint=hint, exit_code=2)

    def _check_machine(self, services: Mapping[str, Any], found: Sequence[Mapping[str, Any]]) -> None:
        """Raise when the machine has not the processors or the port: the engine says so when the old container is gone."""
        limits = {name: service.get("deploy", {}).get("resources", {}).get("limits", {}) for name, service in services.items()}
        wanted = {name: float(limit.get("cpus", 0)) for name, limit in limits.items()}
        greedy, most = max(wanted.items(), key=lambda item: item[1])
        if most > 1 and most > (cpus := int(docker("info", "--format", "{{.NCPU}}"))):
            hint = f"set {greedy.upper()}_CPUS to {cpus} or less"
            raise StackError(f"{greedy} may not have {most:g} CPUs: this machine has {cpus}", hint=hint, exit_code=2)
        if not docker("context", "inspect", "--format", "{{.Endpoints.docker.Host}}").startswith("unix:"):
            return  # the ports are those of another machine
        ours = {str(port["PublishedPort"]) for row in found for port in row.get("Publishers") or []}
        for port in services.get("gateway", {}).get("ports", []):
            if port["protocol"] == "tcp" and port.get("published", "").isdigit():
                number = 0 if port["published"] in ours else int(port["published"])
                machine.require_port(port.get("host_ip", "").strip("[]") or "0.0.0.0", number, as_engine=True)  # noqa: S104 - tried alone

    def _check(self, services: Container[str]) -> None:
        """Let new containers read the settings before the old ones are touched: Compose takes those away first, and looks then."""
        tries = {f"{service} does not accept its settings": trial(service) for service in CHECKS if service in services}
        if self.replicas:  # else nothing would be taken away, and perhaps there is no database
            tries["the migration failed"] = ("run", "--rm", "--no-deps", "--no-TTY", "migrate")
        for failure, arguments in tries.items():
            self.require(failure, *arguments, hint="what runs is as it was", exit_code=2)

    def _warn(self) -> None:
        """Say so when a setting of the shell stays here: Compose passes on what its file names, and all of .env."""
        if "PRELOAD_LIBRARIES" in self.settings and "PRELOAD_LIBRARIES" not in env_file.read(self.root / ".env"):
            click.echo("PRELOAD_LIBRARIES does not reach the containers: write it into .env", err=True)

    def _all(self) -> list[dict[str, Any]]:
        """Every container of the project but those of `docker compose run`, in the order of ORDER, as `docker compose ps` has it."""
        rows = [json.loads(line) for line in self._read("ps", "--all", "--format", "json").splitlines() if line.startswith("{")]
        rows = [row for row in rows if "com.docker.compose.oneoff=True" not in row["Labels"].split(",")]
        rank = {service: position for position, service in enumerate(ORDER)}
        return sorted(rows, key=lambda row: (rank.get(row["Service"], len(ORDER)), row["Name"]))

    def _addresses(self, container: str) -> str:
        with suppress(StackError):  # it has just gone
            return ", ".join(addresses(container))
        return ""

    def _explain(self) -> str:
        """The last log lines of every service that failed, for an error that is already on its way.

        One that refuses to start is begun again and again: for moments it runs, and what `docker compose ps` says of it was true of
        two different moments. How often it was begun tells it in any of them.
        """
        parts: dict[str, str] = {}
        with suppress(StackError):
            for row in self._all():
                state, health, code, begun = docker("inspect", "--format", _STATE, row["ID"]).split(",")
                if health != "healthy" and (health or code != "0" or begun != "0" or state not in {"running", "exited", "created"}):
                    tail = self._read("logs", "--no-color", "--tail", str(LOG_TAIL_LINES), row["Service"])
                    probe = [f"its health check: {line}" for line in docker("inspect", "--format", _PROBES, row["ID"]).splitlines()[-1:]]
                    said = f"{row['Service']} is {health or state} (exit code {code}):"
                    parts[row["Service"]] = "\n".join([said, tail.rstrip(), *probe])
        return "\n".join(parts.values())

    def _command(self, *arguments: str) -> list[str]:
        # Whatever was started must be stopped, also when LAB_ENABLED or the profiles have changed since.
        everything = arguments[0] in {"down", "ps", "logs"}
        files = [part for file in self._files(lab=everything or is_on(self.settings, "LAB_ENABLED")) for part in ("-f", file)]
        return ["docker", "compose", "-p", self.name, *files, *(["--profile", "*"] if everything else []), *arguments]

    def _files(self, *, lab: bool) -> list[str]:
        """Return the Compose files to name; none when Compose is to find them itself, as it does when it is called by hand."""
        overlays = list(self._overrides)
        if server := other_server(self.settings, self.root):
            overlays.append(self.root / f"compose/servers/{server}.yaml")
        if lab and (file := self.root / LAB).is_file() and file not in overlays:
            overlays.append(file)
        if not overlays or self._overrides:
            return [*(["docker-compose.yml"] if overlays else []), *map(str, overlays)]
        own = [name for name in ("docker-compose.yml", *OVERRIDES) if (self.root / name).is_file()]
        return [*(self.setting("COMPOSE_FILE").split(":") if self.setting("COMPOSE_FILE") else own), *map(str, overlays)]

    def _call(self, *arguments: str, **how: Any) -> CompletedProcess[Any]:
        return subprocess.run(self._command(*arguments), cwd=self.root, env=self.settings, check=False, **how)

    def _run(self, *arguments: str, check: bool = True) -> None:
        """Run a command whose progress the user wants to see."""
        code = self._call(*arguments).returncode
        if code and check:
            raise StackError(f"docker compose {arguments[0]} failed (exit code {code})", hint="its own words are above")

    def _read(self, *arguments: str) -> str:
        return self.require(f"docker compose {arguments[0]} failed", *arguments)


def _unit(row: Mapping[str, Any], networks: str) -> Unit:
    published = {f"{port['URL']}:{port['PublishedPort']}" for port in row.get("Publishers") or [] if port["PublishedPort"]}
    address = ", ".join(sorted(published)) or networks
    return Unit(row["Service"], row["ID"], address, row["Health"] or row["State"])
