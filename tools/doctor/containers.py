"""The facts as running containers give them: asked through the `docker` command, whoever started them."""

import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.doctor import application, certificate, firewall, nginx
from tools.doctor.application import Answer, Interpreter, Sources, temporary_folder
from tools.doctor.compose import BOUNDED_LOGS, port_reuse, service_size
from tools.doctor.facts import APP, GATEWAY, Certificate, Compose, Facts, Gunicorn, Missing, Nginx, Port, Service, Waf
from tools.doctor.units import seconds, show_seconds, show_version, version
from tools.doctor.values import CannotRead, Origin, Setting, variable

PROJECT = "com.docker.compose.project"
ANSWER_TIMEOUT_S = 30
# Docker's own default, when neither the image nor Compose says anything.
STOP_GRACE = "10s"
Inspected = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Found:
    """The running containers of one Compose project, and the folder and files they were started from."""

    containers: tuple[Inspected, ...]
    folder: Path
    files: tuple[Path, ...]

    def of(self, service: str) -> tuple[Inspected, ...]:
        return tuple(box for box in self.containers if _label(box, "service") == service)


def find(project: str) -> Found | Missing:
    """The running containers of a project, or why there are none."""
    listed = _docker("ps", "--quiet", "--no-trunc", "--filter", f"label={PROJECT}={project}")
    if listed is None:
        return Missing("no Docker engine answers")
    if not listed.split():
        return Missing(f"no container of the project {project} is running")
    boxes = tuple(json.loads(_docker("inspect", *listed.split()) or "[]"))
    if not boxes:
        return Missing(f"the containers of the project {project} have just gone")
    files = tuple(Path(name) for name in _label(boxes[0], "project.config_files").split(",") if name)
    return Found(boxes, Path(_label(boxes[0], "project.working_dir")), files)


def facts(found: Found) -> Facts:
    """Everything that the running containers say; a layer that cannot be asked is missing, with the reason."""
    gateway, app = found.of(GATEWAY), found.of(APP)
    tree = _nginx(gateway[0]) if gateway else Missing("the gateway does not run")
    answer = _ask(app[0]) if app else Missing("app does not run")
    return Facts(
        source="running",
        runtime="compose",
        nginx=tree,
        gunicorn=answer if isinstance(answer, Missing) else _gunicorn(answer, app[0]),
        compose=_compose(found),
        app=answer if isinstance(answer, Missing) else application.flask(answer, _name(app[0]), _environment(app[0])),
        database=answer if isinstance(answer, Missing) else application.database(answer),
        waf=tree if isinstance(tree, Missing) else _firewall(tree, _name(gateway[0])),
        certificate=_certificate(gateway[0]),
    )


def _docker(*arguments: str) -> str | None:
    """What docker prints, or None when it fails."""
    try:
        answer = subprocess.run(["docker", *arguments], capture_output=True, text=True, timeout=ANSWER_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout if answer.returncode == 0 else None


def _label(box: Inspected, name: str) -> str:
    return str((box["Config"].get("Labels") or {}).get(f"com.docker.compose.{name}", ""))


def _name(box: Inspected) -> str:
    return str(box["Name"]).removeprefix("/")


# --- nginx


def _nginx(box: Inspected) -> Nginx | Missing:
    name = _name(box)
    conf = _configuration(name)
    dump = _docker("exec", name, "nginx", "-e", "stderr", "-T", *(["-c", conf] if conf else []))
    if dump is None:
        return Missing(f"{name} does not print its configuration (nginx -T)")
    said = subprocess.run(["docker", "exec", name, "nginx", "-v"], capture_output=True, text=True, timeout=ANSWER_TIMEOUT_S, check=False)
    number = version(said.stderr)
    table = _docker("exec", name, "cat", str(Path(conf).parent / nginx.TEMP_FILES)) if conf else None
    with temporary_folder() as folder:
        try:
            main = nginx.unpack_dump(dump, Path(folder))
            tree = nginx.read_tree(main, root=Path(folder), locate=nginx.locate_dumped(Path(folder), lambda path: f"{name}:{path}"))
        except CannotRead as error:
            return Missing(str(error))
    shown = Setting("nginx", number, show_version(number), Origin(name), editable=False)
    return Nginx(tree, shown, _environment(box), nginx.read_temp_files(table, name) if table else ())


def _firewall(read: Nginx, name: str) -> Waf | Missing:
    return firewall.from_tree(read.tree, lambda path: _docker("exec", name, "cat", path), lambda path, line: Origin(f"{name}:{path}", line))


def _certificate(box: Inspected) -> Certificate | Missing:
    """As the gateway itself finds it: with its user, and in a volume too."""
    name = _name(box)
    return certificate.ask(["docker", "exec", name, "certificate"], certificate.chosen(_environment(box)), Origin(name))


def _configuration(name: str) -> str:
    """The file that the container's nginx was started with; "" when it was not told one."""
    command = (_docker("exec", name, "cat", "/proc/1/cmdline") or "").replace("\0", " ").split()
    return command[command.index("-c") + 1] if "-c" in command[:-1] else ""


# --- gunicorn and Flask


def _ask(box: Inspected) -> Answer | Missing:
    command = list(box["Config"].get("Cmd") or ())
    arguments = command[command.index("gunicorn") + 1 :] if "gunicorn" in command else []
    interpreter = Interpreter(["docker", "exec", "-i", _name(box), "python"])
    try:
        return interpreter.ask({"argv": arguments, "pretend": None, "ask": True})
    except CannotRead as error:
        return Missing(f"{_name(box)}: {error}")


def _gunicorn(answer: Answer, box: Inspected) -> Gunicorn:
    return application.gunicorn(answer, Sources(_name(box), {}, _environment(box)))


# --- Compose


def _compose(found: Found) -> Compose:
    names = dict.fromkeys(_label(box, "service") for box in found.containers)
    return Compose(
        services={name: _service(name, found.of(name)) for name in names},
        subnets=_subnets(found),
    )


def _subnets(found: Found) -> dict[str, tuple[str, ...]]:
    names = {name for box in found.containers for name in box["NetworkSettings"]["Networks"]} - {"none", "host"}
    networks = json.loads(_docker("network", "inspect", *sorted(names)) or "[]") if names else []
    return {
        (network.get("Labels") or {}).get("com.docker.compose.network", network["Name"]): tuple(
            config["Subnet"] for config in network["IPAM"].get("Config") or () if config.get("Subnet")
        )
        for network in networks
    }


def _service(name: str, boxes: Sequence[Inspected]) -> Service:
    box = boxes[0]
    config, host = box["Config"], box["HostConfig"]
    origin = Origin(_name(box))

    def setting(title: str, value: Any, shown: str) -> Setting[Any]:
        return Setting(title, value, shown, origin)

    grace = float(config["StopTimeout"]) if config.get("StopTimeout") is not None else seconds(STOP_GRACE)
    ports = tuple(_ports(host.get("PortBindings") or {}))
    return Service(
        name=name,
        origin=origin,
        one_shot=False,
        replicas=setting("replicas", len(boxes), str(len(boxes))),
        stop_grace=setting("stop_grace_period", grace, show_seconds(grace)),
        ports=setting("ports", ports, ", ".join(map(str, ports)) or "none"),
        read_only=setting("read_only", bool(host["ReadonlyRootfs"]), str(bool(host["ReadonlyRootfs"])).lower()),
        cap_drop=_words("cap_drop", host.get("CapDrop"), origin),
        security_opt=_words("security_opt", host.get("SecurityOpt"), origin),
        port_reuse=port_reuse(host.get("Sysctls"), origin),
        user=setting("user", config.get("User") or "", config.get("User") or "root"),
        log_rotation=_rotation(host["LogConfig"], origin),
        memory=service_size("memory limit", host.get("Memory") or None, origin),
        cpus=_cpus(host, origin),
        pids=_pids(host, origin),
        healthcheck=_health(config.get("Healthcheck"), origin),
        tmpfs={path: _tmpfs(path, options, origin) for path, options in (host.get("Tmpfs") or {}).items()},
        environment=_environment(box),
        command=tuple(config.get("Cmd") or ()),
        image=str(config["Image"]),
    )


def _words(title: str, value: Sequence[str] | None, origin: Origin) -> Setting[tuple[str, ...]]:
    return Setting(title, tuple(value or ()), ", ".join(value or ()) or "none", origin)


def _ports(bindings: Mapping[str, Sequence[Mapping[str, str]] | None]) -> list[Port]:
    return [
        Port(binding.get("HostIp", ""), binding.get("HostPort", ""), int(target.partition("/")[0]), target.partition("/")[2] or "tcp")
        for target, published in bindings.items()
        for binding in published or ()
    ]


def _rotation(log: Mapping[str, Any], origin: Origin) -> Setting[bool]:
    size = (log.get("Config") or {}).get("max-size")
    bounded = log["Type"] in BOUNDED_LOGS or size is not None
    without = log["Type"] if bounded else f"{log['Type']} without max-size"
    return Setting("logging", bounded, f"{log['Type']}, max-size {size}" if size else without, origin)


def _cpus(host: Mapping[str, Any], origin: Origin) -> Setting[float | None]:
    value = (host.get("NanoCpus") or 0) / 1e9 or None
    return Setting("cpus", value, f"{value:g}" if value else "none", origin)


def _pids(host: Mapping[str, Any], origin: Origin) -> Setting[int | None]:
    value = host.get("PidsLimit") or None
    return Setting("pids limit", value, str(value or "none"), origin)


def _health(check: Mapping[str, Any] | None, origin: Origin) -> Setting[bool]:
    on = bool(check) and (check or {}).get("Test", ["NONE"])[:1] != ["NONE"]
    return Setting("healthcheck", on, "set" if on else "none", origin)


def _tmpfs(path: str, options: str, origin: Origin) -> Setting[int | None]:
    sizes = [option.removeprefix("size=") for option in options.split(",") if option.startswith("size=")]
    return service_size(f"tmpfs {path}", sizes[-1] if sizes else None, origin)


def _environment(box: Inspected) -> dict[str, Setting[str]]:
    words = (word.partition("=") for word in box["Config"].get("Env") or ())
    return {name: variable(name, value, Origin(_name(box))) for name, _, value in words}
