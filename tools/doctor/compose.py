"""The Compose file: resolved by `docker compose config`, with the line of each value found in the file itself."""

import json
import os
import re
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from dotenv.parser import parse_stream

from tools.doctor.facts import Compose, Missing, Port, Service
from tools.doctor.images import Image, from_dockerfile, from_engine
from tools.doctor.units import seconds, show_bytes, show_seconds, size_bytes
from tools.doctor.values import CannotRead, Origin, Setting, holds_password, is_secret, variable

NAMES = ("docker-compose.yml", "docker-compose.yaml", "compose.yaml", "compose.yml")
OVERRIDES = ("docker-compose.override.yml", "docker-compose.override.yaml", "compose.override.yaml", "compose.override.yml")
ANSWER_TIMEOUT_S = 30
# Compose's own default.
STOP_GRACE = "10s"
# These drivers bound their files, or keep none on this host; json-file does so only when it is told to.
BOUNDED_LOGS = frozenset({"local", "none", "journald", "syslog", "gelf", "fluentd", "awslogs", "splunk", "gcplogs"})
PORT_REUSE = "net.ipv4.tcp_tw_reuse"
_WITH_DEFAULT = re.compile(r"\$\{(\w+):?-([^}]+)\}")
_VARIABLE = re.compile(r"\$\{?(\w+)")
_NO_FILES: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class Project:
    """What Compose made of the files: the resolved model, and the files it came from."""

    model: Mapping[str, Any]
    sources: "Sources"


class Sources:
    """The Compose files as trees of YAML nodes, to say in which line something stands."""

    def __init__(self, root: Path, files: Sequence[Path]) -> None:
        self._root = root
        self._trees = [(self.show(path), _nodes(path, self.show(path))) for path in files]
        # Compose reads it from the folder of the project.
        self._dotenv = _dotenv_lines(root / ".env")

    def show(self, path: Path) -> str:
        resolved = path.resolve()
        return str(resolved.relative_to(self._root)) if resolved.is_relative_to(self._root) else str(path)

    def origin(self, *path: str) -> Origin:
        """Where that key stands, or the nearest key around it: there it would have to be added."""
        for length in range(len(path), 0, -1):
            for name, tree in reversed(self._trees):
                found = _find(tree, path[:length])
                if found is not None:
                    key, value = found
                    return self._exact(name, key, value) if length == len(path) else Origin(name, _line(key), "not set")
        return Origin(self._trees[0][0])

    def variable(self, service: str, name: str) -> Origin:
        """Where a variable of a service gets its value: also from `.env` as a whole (env_file)."""
        found = self.origin("services", service, "environment", name)
        return Origin(".env", self._dotenv[name]) if found.note in {"", "not set"} and name in self._dotenv else found

    def _exact(self, file: str, key: yaml.Node, value: yaml.Node) -> Origin:
        named = _VARIABLE.search(value.value) if isinstance(value, yaml.ScalarNode) else None
        if named is None:
            return Origin(file, _line(key))
        if named[1] in self._dotenv and named[1] not in os.environ:
            return Origin(".env", self._dotenv[named[1]], named[1])
        return Origin(file, _line(key), named[1])

    def scalars(self) -> Iterator[tuple[str, yaml.ScalarNode, str]]:
        """Every value, with the key it belongs to and the file it stands in."""
        for name, tree in self._trees:
            for key, node in _scalars(tree, ""):
                yield name, node, key


def find_files(root: Path) -> tuple[Path, ...]:
    """The files that `docker compose` takes by itself in this folder; none when it is no Compose project."""
    base = next((root / name for name in NAMES if (root / name).is_file()), None)
    if base is None:
        return _NO_FILES
    return (base, *(root / name for name in OVERRIDES if (root / name).is_file()))


def load(root: Path, files: Sequence[Path], project: str | None) -> Project | Missing:
    """Let Compose resolve its files. Missing without the plugin, CannotRead when it refuses them."""
    sources = Sources(root, files)
    problem = plugin_problem()
    if problem:
        return Missing(problem)
    chosen = [part for path in files for part in ("-f", str(path))]
    named = ["-p", project] if project else []
    argv = ["docker", "compose", *named, *chosen, "--profile", "*", "config", "--format", "json"]
    answer = subprocess.run(argv, cwd=root, capture_output=True, text=True, timeout=ANSWER_TIMEOUT_S, check=False)
    if answer.returncode:
        said = (answer.stderr.strip().splitlines() or ["it gave no reason"])[-1]
        raise CannotRead(f"{sources.show(files[0])}: docker compose refuses it: {said.replace(f'{root}/', '')}")
    return Project(json.loads(answer.stdout), sources)


def plugin_problem() -> str:
    """Why `docker compose` cannot be asked, or "" when it can. It needs no engine to read a file."""
    try:
        argv = ["docker", "compose", "version"]
        answer = subprocess.run(argv, capture_output=True, text=True, timeout=ANSWER_TIMEOUT_S, check=False)
    except FileNotFoundError:
        return "docker is not installed, so the Compose file cannot be resolved"
    except subprocess.TimeoutExpired:
        return "docker does not answer, so the Compose file cannot be resolved"
    return "" if answer.returncode == 0 else "docker has no Compose plugin, so the Compose file cannot be resolved"


def read(project: Project) -> Compose:
    """The facts about every service, profiles included."""
    services = project.model.get("services") or {}
    once = set(_run_once(services.values()))
    return Compose(
        services={name: _service(name, service, once, project) for name, service in services.items()},
        subnets=_subnets(project.model.get("networks") or {}),
        secret_defaults=tuple(_secret_defaults(project.sources)),
    )


def _run_once(services: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    for service in services:
        for name, dependency in (service.get("depends_on") or {}).items():
            if dependency.get("condition") == "service_completed_successfully":
                yield name


def _subnets(networks: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    found = {}
    for name, network in networks.items():
        configs = ((network or {}).get("ipam") or {}).get("config") or []
        found[name] = tuple(config["subnet"] for config in configs if config.get("subnet"))
    return {name: subnets for name, subnets in found.items() if subnets}


def _service(name: str, model: Mapping[str, Any], once: set[str], project: Project) -> Service:
    def at(*path: str) -> Origin:
        return project.sources.origin("services", name, *path)

    deploy = model.get("deploy") or {}
    limits = (deploy.get("resources") or {}).get("limits") or {}
    image = _image(model, project)
    grace = model.get("stop_grace_period") or STOP_GRACE
    return Service(
        name=name,
        origin=at(),
        one_shot=name in once,
        replicas=_number("replicas", int(model.get("scale") or deploy.get("replicas") or 1), at("deploy", "replicas")),
        stop_grace=Setting("stop_grace_period", seconds(grace), show_seconds(seconds(grace)), at("stop_grace_period")),
        ports=_listed("ports", tuple(_port(port) for port in model.get("ports") or ()), at("ports")),
        read_only=_flag("read_only", at("read_only"), value=bool(model.get("read_only"))),
        cap_drop=_listed("cap_drop", tuple(model.get("cap_drop") or ()), at("cap_drop")),
        security_opt=_listed("security_opt", tuple(model.get("security_opt") or ()), at("security_opt")),
        port_reuse=port_reuse(model.get("sysctls"), at("sysctls", PORT_REUSE)),
        user=_user(model, image, at("user")),
        log_rotation=_rotation(model.get("logging") or {}, at("logging")),
        memory=service_size("memory limit", limits.get("memory") or model.get("mem_limit"), at("deploy", "resources", "limits", "memory")),
        cpus=_cpus(limits.get("cpus") or model.get("cpus"), at("deploy", "resources", "limits", "cpus")),
        pids=_count("pids limit", limits.get("pids") or model.get("pids_limit"), at("deploy", "resources", "limits", "pids")),
        healthcheck=_health(model.get("healthcheck"), image, at("healthcheck")),
        tmpfs=dict(_tmpfs(text, at("tmpfs")) for text in _as_list(model.get("tmpfs"))),
        environment={**_image_environment(image), **_environment(model.get("environment") or {}, name, project)},
        command=tuple(model.get("command") or image.command),
        command_origin=at("command"),
        image=str(model.get("image") or f"{project.model['name']}-{name}"),
        aliases=tuple(_aliases(name, model.get("networks") or {})),
        mounts={volume["target"]: volume["source"] for volume in model.get("volumes") or () if volume.get("type") == "bind"},
        mounts_origin=at("volumes"),
    )


def _as_list(value: str | Sequence[str] | None) -> Sequence[str]:
    return [value] if isinstance(value, str) else value or ()


def _flag(name: str, origin: Origin, *, value: bool) -> Setting[bool]:
    return Setting(name, value, "true" if value else "false", origin)


def _number(name: str, value: int, origin: Origin) -> Setting[int]:
    return Setting(name, value, str(value), origin)


def _listed(name: str, value: tuple[Any, ...], origin: Origin) -> Setting[tuple[Any, ...]]:
    return Setting(name, value, ", ".join(map(str, value)) or "none", origin)


def port_reuse(sysctls: Mapping[str, Any] | None, origin: Origin) -> Setting[str]:
    """Whether a port of a closed connection is used again, as text; empty: as the kernel's default is."""
    value = str((sysctls or {}).get(PORT_REUSE, ""))
    return Setting(PORT_REUSE, value, value or "the kernel's default", origin)


def service_size(name: str, value: Any, origin: Origin) -> Setting[int | None]:
    """A limit in bytes; None when there is none."""
    if value is None:
        return Setting(name, None, "none", origin)
    number = size_bytes(str(value))
    return Setting(name, number, show_bytes(number), origin)


def _cpus(value: Any, origin: Origin) -> Setting[float | None]:
    return Setting("cpus", float(value), f"{float(value):g}", origin) if value else Setting("cpus", None, "none", origin)


def _count(name: str, value: Any, origin: Origin) -> Setting[int | None]:
    return Setting(name, int(value), str(value), origin) if value else Setting(name, None, "none", origin)


def _port(model: Mapping[str, Any]) -> Port:
    return Port(
        str(model.get("host_ip") or ""),
        str(model.get("published") or "a free port"),
        int(model["target"]),
        str(model.get("protocol") or "tcp"),
    )


def _rotation(model: Mapping[str, Any], origin: Origin) -> Setting[bool]:
    driver, options = model.get("driver") or "json-file", model.get("options") or {}
    bounded = driver in BOUNDED_LOGS or "max-size" in options
    shown = f"{driver}, max-size {options['max-size']}" if "max-size" in options else str(driver)
    return Setting("logging", bounded, shown if bounded else f"{driver} without max-size", origin)


def _health(model: Mapping[str, Any] | None, image: Image, origin: Origin) -> Setting[bool]:
    if model is None:
        return Setting("healthcheck", image.healthcheck, "in the image" if image.healthcheck else "none", origin)
    on = not model.get("disable") and (model.get("test") or [""])[0] != "NONE"
    return Setting("healthcheck", on, "set" if on else "disabled", origin)


def _user(model: Mapping[str, Any], image: Image, origin: Origin) -> Setting[str | None]:
    if model.get("user"):
        return Setting("user", str(model["user"]), str(model["user"]), origin)
    if image.user is None:
        return Setting("user", None, "not known", origin)
    return Setting("user", image.user, image.user or "root", image.origin or origin)


def _tmpfs(text: str, origin: Origin) -> tuple[str, Setting[int | None]]:
    path, _, options = text.partition(":")
    sizes = [option.removeprefix("size=") for option in options.split(",") if option.startswith("size=")]
    return path, service_size(f"tmpfs {path}", sizes[-1] if sizes else None, origin)


def _aliases(service: str, networks: Mapping[str, Any]) -> Iterator[str]:
    yield service
    for network in networks.values():
        yield from (network or {}).get("aliases") or ()


def _image_environment(image: Image) -> dict[str, Setting[str]]:
    origin = image.origin or Origin("the image")
    return {name: variable(name, value, origin) for name, value in image.environment.items()}


def _environment(model: Mapping[str, Any], service: str, project: Project) -> dict[str, Setting[str]]:
    settings = {}
    for name, value in model.items():
        if value is not None:
            # `config` writes "$$" so that its output could be read again.
            text = str(value).replace("$$", "$")
            settings[name] = variable(name, text, project.sources.variable(service, name))
    return settings


def _image(model: Mapping[str, Any], project: Project) -> Image:
    """By its Dockerfile where it is built here: an image of last week must not hide what the file says."""
    build = model.get("build") or _builds(model.get("image"), project)
    if build and "dockerfile_inline" not in build:
        path = Path(build.get("context") or ".") / (build.get("dockerfile") or "Dockerfile")
        if path.is_file():
            return from_dockerfile(path, project.sources.show(path))
    return from_engine(model["image"]) if model.get("image") else Image()


def _builds(image: str | None, project: Project) -> Mapping[str, Any] | None:
    """The recipe of another service whose image this one runs too."""
    services = (project.model.get("services") or {}).values()
    return next((other["build"] for other in services if image and other.get("image") == image and other.get("build")), None)


def _secret_defaults(sources: Sources) -> Iterator[Setting[str]]:
    for file, node, key in sources.scalars():
        for name in _given_away(key, node.value):
            yield Setting(name, "(not shown)", "has a value", Origin(file, _line(node)))


def _given_away(key: str, value: str) -> Iterator[str]:
    """Names of the secrets whose value stands in this line of a committed file."""
    if re.match(r"\w+=", value):  # environment as a list: NAME=value
        key, value = value.split("=", 1)
    for name, default in _WITH_DEFAULT.findall(value):
        if is_secret(name) and default.strip():
            yield name
    if is_secret(key) and value and "$" not in value:
        yield key
    if holds_password(value):
        yield key


def _nodes(path: Path, shown: str) -> yaml.Node | None:
    try:
        return yaml.compose(path.read_text(), Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise CannotRead(f"{shown}:{line}: not YAML: {error.problem}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise CannotRead(f"{shown}: {error}") from None


def _entries(node: yaml.Node | None) -> Iterator[tuple[yaml.ScalarNode, yaml.Node]]:
    """Keys and values of a mapping; those that are merged into it (`<<`) come last."""
    if not isinstance(node, yaml.MappingNode):
        return
    merged: list[yaml.Node] = []
    for key, value in node.value:
        if key.value == "<<":
            merged.extend(value.value if isinstance(value, yaml.SequenceNode) else [value])
        else:
            yield key, value
    for other in merged:
        yield from _entries(other)


def _find(node: yaml.Node | None, path: Sequence[str]) -> tuple[yaml.Node, yaml.Node] | None:
    """The key at that path, and its value."""
    for key, value in _entries(node):
        if key.value == path[0]:
            return (key, value) if len(path) == 1 else _find(value, path[1:])
    return None


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def _dotenv_lines(path: Path) -> dict[str, int]:
    """The variables of a `.env` file and their lines; empty ones count as not given."""
    if not path.is_file():
        return {}
    with path.open() as stream:
        return {
            found.key: found.original.line + _blank_lines(found.original.string)
            for found in parse_stream(stream)
            if found.key and found.value
        }


def _blank_lines(text: str) -> int:
    """How many lines before the variable dotenv counts to it."""
    return text[: len(text) - len(text.lstrip())].count("\n")


def _scalars(node: yaml.Node | None, key: str) -> Iterator[tuple[str, yaml.ScalarNode]]:
    if isinstance(node, yaml.ScalarNode):
        yield key, node
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _scalars(item, key)
    elif isinstance(node, yaml.MappingNode):
        for name, value in node.value:
            yield from _scalars(value, name.value)
