"""What `docker stack deploy` is given: the model that Compose makes of the project's files, in the older form that Swarm reads.

Swarm refuses a part of Compose's words, and ignores another part without a word. Here every word is passed on, has another form, has
no meaning on nodes, or is lost; `losses` names the last ones.
"""

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tools.doctor.values import size_bytes

Model = dict[str, Any]

PASSED_ON = {
    *("cap_add", "cap_drop", "command", "configs", "deploy", "dns", "entrypoint", "environment", "extra_hosts", "healthcheck", "hostname"),
    *("image", "init", "labels", "logging", "networks", "ports", "read_only", "secrets", "stop_grace_period", "stop_signal", "sysctls"),
    *("ulimits", "user", "volumes", "working_dir"),
}
IN_ANOTHER_FORM = {"shm_size", "tmpfs"}
# Images come from a registry; what depends on something starts again until that is there; `deploy` has its own restart_policy.
WITHOUT_MEANING = {"attach", "build", "depends_on", "profiles", "pull_policy", "restart", "scale"}
EVERYWHERE = {None, "", "0.0.0.0", "::"}  # noqa: S104 - compared with, never bound
JOBS = ("replicated-job", "global-job")


class Loss(NamedTuple):
    """What Swarm does not do: of which service, the key, its value, and what happens instead."""

    service: str
    key: str
    value: str
    instead: str


def losses(model: Mapping[str, Any]) -> Iterator[Loss]:
    """Yield what the project's files say and Swarm does not do."""
    for name, service in services_of(model).items():
        for key in sorted(service.keys() - PASSED_ON - IN_ANOTHER_FORM - WITHOUT_MEANING):
            if service[key]:
                yield Loss(name, key, str(service[key]), "it is ignored")
        for port in service.get("ports") or ():
            if port.get("host_ip") not in EVERYWHERE:
                yield Loss(name, "ports", f"{port['host_ip']}:{port.get('published', '')}", "the nodes listen on all their addresses")
        for network, about in (service.get("networks") or {}).items():
            for key in sorted((about or {}).keys() - {"aliases"}):
                yield Loss(name, "networks", f"{network}: {key} {about[key]}", "it is ignored")
            if model["networks"][network].get("enable_ipv6"):
                yield Loss(name, "networks", f"{network}: enable_ipv6", "containers have IPv4 addresses alone")
        yield from _of_volumes(name, service, model.get("volumes") or {})


def services_of(model: Mapping[str, Any]) -> Model:
    """Return the services that have containers on the nodes."""
    return {name: service for name, service in model["services"].items() if (service.get("deploy") or {}).get("replicas") != 0}


def _of_volumes(name: str, service: Mapping[str, Any], volumes: Mapping[str, Any]) -> Iterator[Loss]:
    deploy = service.get("deploy") or {}
    stays = deploy.get("mode") == "global" or (deploy.get("placement") or {}).get("constraints")
    for volume in service.get("volumes") or ():
        source = volume.get("source", "")
        if volume["type"] == "bind" and Path(source).is_dir():
            yield Loss(name, "volumes", source, "each node must have that folder, as it is not sent to them")
        if volume["type"] == "volume" and not (stays or volumes.get(source, {}).get("driver")):
            yield Loss(name, "volumes", source, "each node has a volume of its own by that name")


def stack_file(model: Mapping[str, Any]) -> tuple[Model, dict[str, Path]]:
    """Return what `docker stack deploy` reads, and the files that become configs of the Swarm, by name."""
    files: dict[str, Path] = {}
    services = {name: _service(service, files, model["name"]) for name, service in services_of(model).items()}
    parts = {part: {name: _own(about) for name, about in (model.get(part) or {}).items()} for part in ("networks", "volumes", "secrets")}
    return {"services": services, **parts, "configs": {name: {"external": True} for name in files}}, files


def _own(about: Mapping[str, Any]) -> Model:
    """A network or volume gets the stack's name before its own, unless it was there before."""
    return {key: value for key, value in about.items() if key != "enable_ipv6" and (key != "name" or about.get("external"))}


def _service(service: Mapping[str, Any], files: dict[str, Path], project: str) -> Model:
    found = {key: value for key, value in service.items() if key in PASSED_ON and value is not None}
    found["environment"] = {name: value for name, value in (service.get("environment") or {}).items() if value is not None}
    found["networks"] = {
        name: {key: value for key, value in (about or {}).items() if key == "aliases"}
        for name, about in (service.get("networks") or {}).items()
    }
    mounts = [_sized(volume) for volume in found.get("volumes", ())]
    sent = [volume for volume in mounts if volume["type"] == "bind" and Path(volume["source"]).is_file()]
    found["volumes"] = [*(volume for volume in mounts if volume not in sent), *_in_memory(service)]
    found["configs"] = [*found.get("configs", ()), *(_config(Path(one["source"]), one["target"], files, project) for one in sent)]
    found["ports"] = [
        {"target": port["target"], "published": int(port["published"]), "protocol": port.get("protocol", "tcp"), "mode": "host"}
        for port in service.get("ports") or ()
    ]
    deploy = found["deploy"] = dict(service.get("deploy") or {})
    limits = (deploy.get("resources") or {}).get("limits") or {}
    if "cpus" in limits:
        deploy["resources"] = {**deploy["resources"], "limits": {**limits, "cpus": str(limits["cpus"])}}
    if deploy.get("mode") not in JOBS:
        deploy.setdefault("endpoint_mode", "dnsrr")  # a name has the addresses of its containers: nginx chooses by what is in flight
    return found


def _sized(volume: Mapping[str, Any]) -> Mapping[str, Any]:
    return {**volume, "tmpfs": {"size": int(volume["tmpfs"]["size"])}} if "tmpfs" in volume else volume


def _in_memory(service: Mapping[str, Any]) -> Iterator[Model]:
    """The file systems in memory in their long form; the short one is ignored without a word."""
    for text in service.get("tmpfs") or ():
        path, _, options = text.partition(":")
        sizes = [size_bytes(option.removeprefix("size=")) for option in options.split(",") if option.startswith("size=")]
        yield {"type": "tmpfs", "target": path, **({"tmpfs": {"size": sizes[0]}} if sizes else {})}
    if service.get("shm_size"):
        yield {"type": "tmpfs", "target": "/dev/shm", "tmpfs": {"size": int(service["shm_size"])}}  # noqa: S108 - as it is named


def _config(path: Path, target: str, files: dict[str, Path], project: str) -> Model:
    """A file that is mounted becomes a config: nodes do not have it. Another content is another config, as one cannot be changed."""
    name = f"{project}_{path.name.replace('.', '-')}_{hashlib.sha256(path.read_bytes()).hexdigest()[:12]}"
    files[name] = path
    return {"source": name, "target": target}
