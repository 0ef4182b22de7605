"""The services of a Compose project: as Compose itself resolves its files, or as the engine runs them, in the same shape."""

import json
import os
import re
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tools.doctor.values import CannotRead, Missing, NotKnown, Origin, Setting, seconds, show_bytes, show_seconds, size_bytes, variable
from tools.stack import env_file

LABEL = "com.docker.compose"
ANSWER_TIMEOUT_S = 60


def docker(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run docker; CannotRead when it is not there or does not answer."""
    try:
        return subprocess.run(["docker", *arguments], cwd=cwd, capture_output=True, text=True, timeout=ANSWER_TIMEOUT_S, check=False)
    except FileNotFoundError:
        raise CannotRead("docker is not installed") from None
    except subprocess.TimeoutExpired:
        raise CannotRead("docker does not answer") from None


class Service(NamedTuple):
    """One service, in the words of `docker compose config`; `origin` knows where each of them is written."""

    name: str
    model: Mapping[str, Any]
    origin: Callable[..., Origin]

    def at(self, *path: str) -> Origin:
        return self.origin(self.name, *path)

    @property
    def environment(self) -> dict[str, Setting]:
        given = {name: str(value).replace("$$", "$") for name, value in (self.model.get("environment") or {}).items() if value is not None}
        return {name: variable(name, value, self.at("environment", name)) for name, value in given.items()}

    @property
    def replicas(self) -> Setting:
        count = self.model.get("scale", (self.model.get("deploy") or {}).get("replicas", 1))
        return Setting("replicas", int(count), str(count), self.at("replicas"))

    @property
    def stop_grace(self) -> Setting:
        value = seconds(self.model.get("stop_grace_period") or "10s")  # Docker's default
        return Setting("stop_grace_period", value, show_seconds(value), self.at("stop_grace_period"))

    @property
    def memory(self) -> Setting:
        return _size("memory limit", self._limits.get("memory"), self.at("memory"))

    @property
    def cpus(self) -> float | None:
        return float(self._limits["cpus"]) if self._limits.get("cpus") else None

    @property
    def _limits(self) -> Mapping[str, Any]:
        return ((self.model.get("deploy") or {}).get("resources") or {}).get("limits") or {}

    @property
    def tmpfs(self) -> dict[str, Setting]:
        mounts = [text.partition(":")[::2] for text in self.model.get("tmpfs") or ()]
        return {path: _size(f"tmpfs {path}", (re.findall(r"size=(\w+)", how) or [None])[0], self.at("tmpfs")) for path, how in mounts}

    @property
    def ports(self) -> list[Setting]:
        """Return what is published for TCP, as address:port->port in the container."""
        published = [port for port in self.model.get("ports") or () if port.get("protocol", "tcp") == "tcp"]
        shown = [f"{one.get('host_ip') or '*'}:{one.get('published') or 'any'}->{one['target']}" for one in published]
        return [Setting("ports", text, text, self.at("ports")) for text in shown]

    def command_option(self, name: str, default: int) -> Setting:
        """Return `name=value` out of the command (`-c max_connections=100`)."""
        given = dict(word.partition("=")[::2] for word in self.model.get("command") or ())
        value = given.get(name, str(default))
        return Setting(name, int(value), value, self.at("command") if name in given else Origin("default"), editable=name in given)


def _size(name: str, value: Any, origin: Origin) -> Setting:
    number = None if value is None else size_bytes(str(value))
    return Setting(name, number, "none" if number is None else show_bytes(number), origin)


class Services(NamedTuple):
    """What a project consists of; `model`: all that Compose makes of its files."""

    name: str
    all: Mapping[str, Service]
    model: Mapping[str, Any] = {}

    def get(self, name: str) -> Service:
        if name not in self.all:
            raise NotKnown(f"there is no service {name}")
        return self.all[name]

    def neighbours(self, name: str) -> set[str]:
        """Return every name that is known on the networks of a service."""
        mine = (self.get(name).model.get("networks") or {}).keys()
        found = {host.partition("=")[0] for host in self.get(name).model.get("extra_hosts") or ()}
        for other, service in self.all.items():
            shared = [about or {} for network, about in (service.model.get("networks") or {}).items() if network in mine]
            found |= {alias for about in shared for alias in about.get("aliases") or ()}
            found |= {other, service.model.get("container_name", other), service.model.get("hostname", other)} if shared else set()
        return found


class Files:
    """The lines of the Compose files, and `.env`."""

    def __init__(self, project: Path) -> None:
        self.dotenv = dotenv(project)
        named = os.environ.get("COMPOSE_FILE") or ((given := self.dotenv.get("COMPOSE_FILE")) and given.value)
        by_itself = sorted(path.name for path in project.glob("*compose*.y*ml"))
        self.names = named.split(os.environ.get("COMPOSE_PATH_SEPARATOR", ":")) if named else by_itself
        if not self.names:
            raise CannotRead(f"{project}: this is no project with the kit's files, it has no docker-compose.yml")
        try:
            self._texts = {name: (project / name).read_text() for name in self.names}
        except (OSError, UnicodeDecodeError) as error:
            raise CannotRead(f"{error}") from None

    def origin(self, service: str, *path: str) -> Origin:
        """Return the line that names the last key: in the service, in what services share above it, or in `.env` as a whole."""
        for name, text in reversed(self._texts.items()):  # what a later file says holds
            block = re.search(rf"(?m)^  {service}:.*\n(?:(?:    .*|\s*|  #.*)\n?)*", text)
            for start, part in [(block.start(), block[0]), (0, text.partition("\nservices:")[0])] if block else ():
                if found := re.search(rf"(?m)^[^#\n]*?(?<![\w.]){re.escape(path[-1])}(?=:).*", part):
                    return self._exact(name, text.count("\n", 0, start + found.start()) + 1, found[0], path[-1])
        if path[0] == "environment" and path[-1] in self.dotenv:
            return self.dotenv[path[-1]].origin
        return Origin(self.names[0], None, "not set")

    def _exact(self, file: str, line: int, text: str, key: str) -> Origin:
        named = re.search(r"\$\{?([A-Za-z_]\w*)", text[text.index(key) :])
        given = named[1] if named else key if re.search(rf"{key}:\s*(#|$)", text) else ""
        if given in self.dotenv and given not in os.environ:
            return self.dotenv[given].origin
        return Origin(file, line, named[1] if named else "")


def read(project: Path) -> Services | Missing:
    """Let Compose resolve its files. Missing without the plugin, CannotRead when it refuses them."""
    sources = Files(project)
    try:
        if docker("compose", "version").returncode:
            return Missing("docker has no Compose plugin, so the Compose file cannot be resolved")
    except CannotRead as error:
        return Missing(f"{error}, so the Compose file cannot be resolved")
    answer = docker("compose", "--profile", "*", "config", "--format", "json", cwd=project)
    if answer.returncode:
        said = (answer.stderr.strip().splitlines() or ["it gave no reason"])[-1]
        raise CannotRead(f"{sources.names[0]}: docker compose refuses it: {said.replace(f'{project}/', '')}")
    model = json.loads(answer.stdout)
    return Services(model["name"], {name: Service(name, service, sources.origin) for name, service in model["services"].items()}, model)


def dotenv(project: Path) -> dict[str, Setting]:
    """Return the variables of `.env` with their lines; empty ones count as not given."""
    try:
        values = env_file.read(project / ".env")
    except ValueError as error:
        raise CannotRead(str(error)) from None
    return {name: variable(name, value.text, Origin(".env", value.line, name)) for name, value in values.items() if value.text}


def running(project: Path, services: Services | Missing) -> Services | Missing:
    """Return what runs of these files, in the same shape: the first container of each service."""
    if isinstance(services, Missing):
        return services
    listed = docker("ps", "--quiet", "--no-trunc", "--filter", f"label={LABEL}.project={services.name}")
    if listed.returncode:
        return Missing("no Docker engine answers")
    boxes = json.loads(docker("inspect", *listed.stdout.split()).stdout) if listed.stdout.split() else []
    by_service: dict[str, list[Mapping[str, Any]]] = {}
    for box in boxes:
        labels = box["Config"]["Labels"]
        if (folder := labels[f"{LABEL}.project.working_dir"]) != str(project):
            return Missing(f"the containers of the project {services.name} were started from {folder}")
        if labels.get(f"{LABEL}.oneoff") != "True":
            by_service.setdefault(labels[f"{LABEL}.service"], []).append(box)
    if not by_service:
        return Missing(f"no container of the project {services.name} is running")
    names = {name: found[0]["Name"].removeprefix("/") for name, found in by_service.items()}
    return Services(
        services.name, {name: Service(name, _as_config(found), lambda name, *_: Origin(names[name])) for name, found in by_service.items()}
    )


def _as_config(boxes: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Say in the words of `docker compose config` how a service runs."""
    config, host = boxes[0]["Config"], boxes[0]["HostConfig"]
    published = ((target.partition("/"), one) for target, all_of in boxes[0]["NetworkSettings"]["Ports"].items() for one in all_of or ())
    ports = [{"target": t[0], "protocol": t[2], "published": one["HostPort"], "host_ip": one["HostIp"]} for t, one in published]
    return {
        "command": config["Cmd"],
        "deploy": {"replicas": len(boxes), "resources": {"limits": {"memory": host["Memory"] or None, "cpus": host["NanoCpus"] / 1e9}}},
        "networks": {name: {"aliases": about["Aliases"]} for name, about in boxes[0]["NetworkSettings"]["Networks"].items()},
        "environment": dict(word.split("=", 1) for word in config["Env"] or () if "=" in word),
        "ports": ports,
        "stop_grace_period": f"{config.get('StopTimeout') or 10}s",
        "tmpfs": [f"{path}:{options}" for path, options in (host.get("Tmpfs") or {}).items()],
    }
