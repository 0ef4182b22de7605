"""The services of a Compose project: as Compose itself resolves its files, or as the engine runs them, in the same shape."""

import json
import os
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from dotenv import dotenv_values
from dotenv.parser import parse_stream

from tools.doctor.values import (
    CannotRead,
    Environment,
    Missing,
    NotKnown,
    Origin,
    Setting,
    seconds,
    show_bytes,
    show_seconds,
    size_bytes,
    variable as hidden_variable,
)

NAMES = ("compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml")
OVERRIDES = ("compose.override.yaml", "compose.override.yml", "docker-compose.override.yml", "docker-compose.override.yaml")
PORT_REUSE = "net.ipv4.tcp_tw_reuse"
ANSWER_TIMEOUT_S = 60
_VARIABLE = re.compile(r"\$\{?([A-Za-z_]\w*)")


def docker(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run docker; CannotRead when it is not there or does not answer."""
    try:
        return subprocess.run(["docker", *arguments], cwd=cwd, capture_output=True, text=True, timeout=ANSWER_TIMEOUT_S, check=False)
    except FileNotFoundError:
        raise CannotRead("docker is not installed") from None
    except subprocess.TimeoutExpired:
        raise CannotRead("docker does not answer") from None


@dataclass(frozen=True, slots=True)
class Service:
    """One service, in the words of `docker compose config`; `sources` knows where each of them is written."""

    name: str
    model: Mapping[str, Any]
    sources: "Files | Containers"

    def _at(self, *path: str) -> Origin:
        return self.sources.origin(self.name, *path)

    @property
    def environment(self) -> dict[str, Setting]:
        given = {name: str(value).replace("$$", "$") for name, value in (self.model.get("environment") or {}).items() if value is not None}
        return {name: hidden_variable(name, value, self.sources.variable(self.name, name)) for name, value in given.items()}

    @property
    def replicas(self) -> Setting:
        count = self.model.get("scale", (self.model.get("deploy") or {}).get("replicas", 1))
        return Setting("replicas", int(count), str(count), self._at("deploy", "replicas"))

    @property
    def stop_grace(self) -> Setting:
        value = seconds(self.model.get("stop_grace_period") or "10s")  # Docker's default
        return Setting("stop_grace_period", value, show_seconds(value), self._at("stop_grace_period"))

    @property
    def memory(self) -> Setting:
        return _size("memory limit", self._limits.get("memory"), self._at("deploy", "resources", "limits", "memory"))

    @property
    def cpus(self) -> float | None:
        return float(self._limits["cpus"]) if self._limits.get("cpus") else None

    @property
    def _limits(self) -> Mapping[str, Any]:
        return ((self.model.get("deploy") or {}).get("resources") or {}).get("limits") or {}

    @property
    def tmpfs(self) -> dict[str, Setting]:
        mounts = self.model.get("tmpfs") or []
        split = [text.partition(":")[::2] for text in ([mounts] if isinstance(mounts, str) else mounts)]
        sizes = {path: re.findall(r"size=(\w+)", options) for path, options in split}
        return {path: _size(f"tmpfs {path}", size[-1] if size else None, self._at("tmpfs")) for path, size in sizes.items()}

    @property
    def port_reuse(self) -> Setting:
        value = str((self.model.get("sysctls") or {}).get(PORT_REUSE, ""))
        return Setting(PORT_REUSE, value, value or "the kernel's default", self._at("sysctls", PORT_REUSE))

    def ports(self, protocol: str) -> list[tuple[str, str, Setting]]:
        """Return (address, port) of the host and the port in the container with where that is written."""
        found = []
        for port in self.model.get("ports") or []:
            address, published, target = port.get("host_ip") or "*", str(port.get("published") or "any"), str(port["target"])
            if port.get("protocol", "tcp") == protocol:
                found.append((address, published, Setting("ports", target, f"{address}:{published}->{target}", self._at("ports"))))
        return found

    def command_option(self, name: str, default: int) -> Setting:
        """Return `name=value` out of the command (`-c max_connections=100`)."""
        for word in self.model.get("command") or ():
            key, _, value = word.partition("=")
            if key == name and value.isdecimal():
                return Setting(name, int(value), value, self._at("command"))
        return Setting(name, default, str(default), Origin("default"), editable=False)


def _size(name: str, value: Any, origin: Origin) -> Setting:
    number = None if value is None else size_bytes(str(value))
    return Setting(name, number, "none" if number is None else show_bytes(number), origin)


@dataclass(frozen=True, slots=True)
class Services:
    """What a project consists of."""

    name: str
    all: Mapping[str, Service]

    def get(self, name: str) -> Service:
        if name not in self.all:
            raise NotKnown(f"there is no service {name}")
        return self.all[name]


# --- Files


class Files:
    """The Compose files with their lines, and `.env`."""

    def __init__(self, project: Path, files: Sequence[Path]) -> None:
        self._project = project
        # What a later file says holds.
        self._trees = [(self.show(path), _tree(path, self.show(path))) for path in reversed(files)]
        self.dotenv = dotenv(project)

    def show(self, path: Path) -> str:
        return str(path.relative_to(self._project)) if path.is_relative_to(self._project) else str(path)

    def origin(self, service: str, *path: str) -> Origin:
        """Return the line of that key; where it is not written, the line of what it would be in."""
        for length in range(len(path), -1, -1):
            for name, tree in self._trees:
                if found := _find(tree, ("services", service, *path[:length])):
                    return self._exact(name, *found) if length == len(path) else Origin(name, _line(found[0]), "not set")
        return Origin(self._trees[-1][0], None, "not set")

    def variable(self, service: str, name: str) -> Origin:
        """Return where a variable of a service gets its value: also from `.env` as a whole (env_file)."""
        found = self.origin(service, "environment", name)
        return self.dotenv[name].origin if found.note in {"", "not set"} and name in self.dotenv else found

    def _exact(self, file: str, key: yaml.Node, value: yaml.Node) -> Origin:
        named = _VARIABLE.search(value.value) if isinstance(value, yaml.ScalarNode) else None
        if named and named[1] in self.dotenv and named[1] not in os.environ:
            return self.dotenv[named[1]].origin
        return Origin(file, _line(key), named[1] if named else "")


def read(project: Path, files: Sequence[Path]) -> Services | Missing:
    """Let Compose resolve its files. Missing without the plugin, CannotRead when it refuses them."""
    chosen = [path.resolve() for path in files] or _files(project)
    sources = Files(project, chosen)
    try:
        if docker("compose", "version").returncode:
            return Missing("docker has no Compose plugin, so the Compose file cannot be resolved")
    except CannotRead as error:
        return Missing(f"{error}, so the Compose file cannot be resolved")
    named = [word for path in chosen for word in ("-f", str(path))]
    answer = docker("compose", *named, "--profile", "*", "config", "--format", "json", cwd=project)
    if answer.returncode:
        said = (answer.stderr.strip().splitlines() or ["it gave no reason"])[-1]
        raise CannotRead(f"{sources.show(chosen[0])}: docker compose refuses it: {said.replace(f'{project}/', '')}")
    model = json.loads(answer.stdout)
    return Services(model["name"], {name: Service(name, service, sources) for name, service in model["services"].items()})


def _files(project: Path) -> list[Path]:
    """Return the files that `docker compose` takes by itself in this folder."""
    named = os.environ.get("COMPOSE_FILE") or dotenv_values(project / ".env").get("COMPOSE_FILE")
    if named:
        return [project / name for name in named.split(os.environ.get("COMPOSE_PATH_SEPARATOR", ":"))]
    found = [next((project / name for name in names if (project / name).is_file()), None) for names in (NAMES, OVERRIDES)]
    if found[0] is None:
        raise CannotRead(f"{project}: this is no project with the kit's files, it has no docker-compose.yml")
    return [path for path in found if path]


def dotenv(project: Path) -> dict[str, Setting]:
    """Return the variables of `.env` with their lines; empty ones count as not given."""
    if not (project / ".env").is_file():
        return {}
    with (project / ".env").open() as stream:
        found = [
            (one, one.original.line + len(one.original.string) - len(one.original.string.lstrip("\n"))) for one in parse_stream(stream)
        ]
    return {one.key: hidden_variable(one.key, one.value, Origin(".env", line, one.key)) for one, line in found if one.key and one.value}


def _tree(path: Path, shown: str) -> yaml.Node | None:
    try:
        return yaml.compose(path.read_text(), Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise CannotRead(f"{shown}:{line}: not YAML: {error.problem}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise CannotRead(f"{shown}: {error}") from None


def _entries(node: yaml.Node | None) -> Iterator[tuple[yaml.ScalarNode, yaml.Node]]:
    """Yield keys and values of a mapping; those that are merged into it (`<<`) come last."""
    for key, value in node.value if isinstance(node, yaml.MappingNode) else ():
        if key.value != "<<":
            yield key, value
    for key, value in node.value if isinstance(node, yaml.MappingNode) else ():
        if key.value == "<<":
            for other in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                yield from _entries(other)


def _find(node: yaml.Node | None, path: Sequence[str]) -> tuple[yaml.Node, yaml.Node] | None:
    for key, value in _entries(node):
        if key.value == path[0]:
            return (key, value) if len(path) == 1 else _find(value, path[1:])
    return None


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


# --- Containers


@dataclass(frozen=True, slots=True)
class Containers:
    """Where a running value is written: in its container."""

    names: Mapping[str, str]

    def origin(self, service: str, *_path: str) -> Origin:
        return Origin(self.names[service])

    def variable(self, service: str, _name: str) -> Origin:
        return Origin(self.names[service])


def running(project: Path, services: Services | Missing) -> Services | Missing:
    """Return what runs of these files, in the same shape: the first container of each service."""
    if isinstance(services, Missing):
        return services
    label = "com.docker.compose"
    listed = docker("ps", "--quiet", "--no-trunc", "--filter", f"label={label}.project={services.name}")
    if listed.returncode:
        return Missing("no Docker engine answers")
    boxes = json.loads(docker("inspect", *listed.stdout.split()).stdout) if listed.stdout.split() else []
    boxes = [box for box in boxes if box["Config"]["Labels"].get(f"{label}.oneoff") != "True"]
    if not boxes:
        return Missing(f"no container of the project {services.name} is running")
    if (folder := boxes[0]["Config"]["Labels"][f"{label}.project.working_dir"]) != str(project):
        return Missing(f"the containers of the project {services.name} were started from {folder}")
    by_service: dict[str, list[Mapping[str, Any]]] = {}
    for box in boxes:
        by_service.setdefault(box["Config"]["Labels"][f"{label}.service"], []).append(box)
    sources = Containers({name: found[0]["Name"].removeprefix("/") for name, found in by_service.items()})
    return Services(services.name, {name: Service(name, _as_config(found), sources) for name, found in by_service.items()})


def _as_config(boxes: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Say in the words of `docker compose config` how a service runs."""
    config, host = boxes[0]["Config"], boxes[0]["HostConfig"]
    ports = [
        {"target": target.partition("/")[0], "protocol": target.partition("/")[2], "published": one["HostPort"], "host_ip": one["HostIp"]}
        for target, published in (boxes[0]["NetworkSettings"]["Ports"] or {}).items()
        for one in published or ()
    ]
    limits = {"memory": host["Memory"] or None, "cpus": host["NanoCpus"] / 1e9}
    return {
        "command": config["Cmd"],
        "deploy": {"replicas": len(boxes), "resources": {"limits": limits}},
        "environment": dict(word.split("=", 1) for word in config["Env"] or () if "=" in word),
        "ports": ports,
        "stop_grace_period": f"{config.get('StopTimeout') or 10}s",
        "sysctls": host.get("Sysctls"),
        "tmpfs": [f"{path}:{options}" for path, options in (host.get("Tmpfs") or {}).items()],
    }


def values(environment: Environment) -> dict[str, str]:
    return {name: setting.value for name, setting in environment.items()}
