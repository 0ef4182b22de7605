"""Rendered Kubernetes manifests (kubectl kustomize DIR) as the services that the rules know: one for each workload."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import yaml

from tools.doctor.compose import Service, Services
from tools.doctor.values import CannotRead, Origin

WORKLOADS = ("Deployment", "StatefulSet")
Manifest = Mapping[str, Any]


def read(text: str, file: str, replicas: str = "maxReplicas") -> Services:
    """Return the workloads; `replicas` says which bound of an autoscaler counts. CannotRead when it is no site of this kit."""

    def origin(service: str, *path: str) -> Origin:
        less = "terminationGracePeriodSeconds less preStop" if "stop_grace_period" in path else ""
        return Origin(f"{file}: {service}", None, less)

    try:
        manifests = [one for one in yaml.safe_load_all(text) if one]
        workloads = {one["metadata"]["name"]: one for one in manifests if one["kind"] in WORKLOADS}
        found = {name: Service(name, _as_config(one, manifests, replicas), origin) for name, one in workloads.items()}
    except (yaml.YAMLError, KeyError, TypeError, AttributeError, IndexError) as error:
        said = " ".join(str(error).split())
        raise CannotRead(f"{file}: these are no manifests that can be read: {type(error).__name__}: {said}") from None
    if missing := {"app", "gateway"} - found.keys():
        raise CannotRead(f"{file}: there is no Deployment {' and none '.join(sorted(missing))}; right is what kubectl kustomize prints")
    return Services(file, found)


def of_kind(manifests: Iterable[Manifest], kind: str) -> list[Manifest]:
    return [one for one in manifests if one["kind"] == kind]


def names_of(workload: Manifest, manifests: Iterable[Manifest]) -> list[str]:
    """Return the full names that DNS has for the pods of a workload."""
    labels, space = workload["spec"]["template"]["metadata"]["labels"].items(), workload["metadata"].get("namespace", "default")
    services = [one for one in of_kind(manifests, "Service") if one["spec"]["selector"].items() <= labels]
    return [f"{one['metadata']['name']}.{space}.svc.cluster.local" for one in services]


def environment_of(workload: Manifest, manifests: Iterable[Manifest]) -> dict[str, str]:
    """Return what a container gets: of the ConfigMaps, and over them its own, which may name the namespace."""
    maps = {one["metadata"]["name"]: one["data"] for one in of_kind(manifests, "ConfigMap")}
    container = workload["spec"]["template"]["spec"]["containers"][0]
    given = {k: v for source in container.get("envFrom", ()) for k, v in maps[source["configMapRef"]["name"]].items()}
    space = workload["metadata"].get("namespace", "default")
    own = {one["name"]: one.get("value", space).replace("$(NAMESPACE)", space) for one in container.get("env", ())}
    return {**given, **own}


def _as_config(workload: Manifest, manifests: Iterable[Manifest], replicas: str) -> dict[str, Any]:
    """Say it in the words of `docker compose config`."""
    spec, name = workload["spec"]["template"]["spec"], workload["metadata"]["name"]
    container = spec["containers"][0]
    limits = container["resources"]["limits"]
    cpus = re.sub(r"^(\d+)m$", lambda found: str(int(found[1]) / 1000), str(limits["cpu"]))
    scaled = [one["spec"] for one in of_kind(manifests, "HorizontalPodAutoscaler") if one["spec"]["scaleTargetRef"]["name"] == name]
    stays = ((container.get("lifecycle") or {}).get("preStop") or {}).get("sleep", {}).get("seconds", 0)
    memory = {one["name"]: one["emptyDir"] for one in spec.get("volumes", ()) if "emptyDir" in one}
    mounts = [(one["mountPath"], memory[one["name"]]) for one in container.get("volumeMounts", ()) if one["name"] in memory]
    sized = [f"{path}:size={_size(about['sizeLimit'])}" if "sizeLimit" in about else path for path, about in mounts]
    return {
        "command": container.get("args"),
        "deploy": {
            "replicas": scaled[0][replicas] if scaled else workload["spec"].get("replicas", 1),
            "resources": {"limits": {"memory": _size(limits["memory"]), "cpus": cpus}},
        },
        "environment": environment_of(workload, manifests),
        "networks": {"cluster": {"aliases": names_of(workload, manifests)}},
        "ports": [{"target": 8080, "published": "443"}] if name in _published(manifests) else [],
        "stop_grace_period": f"{spec.get('terminationGracePeriodSeconds', 30) - stays}s",
        "tmpfs": sized,
    }


def _published(manifests: Iterable[Manifest]) -> list[str]:
    """Return the Services that an Ingress or a route of the Gateway API passes requests to."""
    rules = [(one["kind"], rule) for kind in ("Ingress", "HTTPRoute") for one in of_kind(manifests, kind) for rule in one["spec"]["rules"]]
    ingress = [path["backend"]["service"]["name"] for kind, rule in rules if kind == "Ingress" for path in rule["http"]["paths"]]
    return ingress + [backend["name"] for kind, rule in rules if kind == "HTTPRoute" for backend in rule.get("backendRefs", ())]


def _size(quantity: str) -> str:
    """512Mi as 512m, which is what Compose calls it."""
    return re.sub(r"^(\d+)([KMG])i$", lambda found: found[1] + found[2].lower(), quantity)
