"""The small cluster's pods, run: `podman kube play` of what kubectl renders, with Debian's podman in a container."""

import json
import os
import subprocess
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
import yaml

from tests.kubernetes.conftest import ROOT, Manifests, Render, parse
from tools.stack.base import read_settings
from tools.stack.compose import ComposeStack
from tools.stack.waiting import wait_until

HOST = "www.example.org"
READY_S = 60
# What an engine needs, as compose/swarm/nodes.yaml says it.
RIGHTS = [f"--cap-add={name}" for name in ("NET_ADMIN", "SYS_ADMIN", "SYS_PTRACE")]
RIGHTS += [f"--security-opt={name}" for name in ("seccomp=unconfined", "apparmor=unconfined", "systempaths=unconfined")]
RIGHTS += ["--cgroupns=host", "--volume=/sys/fs/cgroup:/sys/fs/cgroup", "--tmpfs=/run"]


class Podman:
    """A podman in a container of the engine."""

    def __init__(self, box: str) -> None:
        self._box = box

    def __call__(self, *arguments: str, given: str = "") -> str:
        """Run podman; what it prints. An error fails the test."""
        command = ["docker", "exec", "--interactive", self._box, "podman", *arguments]
        done = subprocess.run(command, input=given, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"podman {' '.join(arguments)}: {done.stderr or done.stdout}"
        return done.stdout

    def take(self, images: Mapping[str, str]) -> None:
        """Bring images of the engine outside into podman, under the names that they have in the manifests."""
        load = ["docker", "exec", "--interactive", self._box, "podman", "load", "--quiet"]
        with subprocess.Popen(["docker", "save", *images], stdout=subprocess.PIPE) as save:
            subprocess.run(load, stdin=save.stdout, capture_output=True, check=True)
        assert save.returncode == 0
        for here, there in images.items():
            self("tag", here, there)

    def play(self, manifests: Manifests, *names: str) -> None:
        """Start the workloads of these names, with all settings and secrets."""
        wanted = [one for one in manifests if one["kind"] in {"ConfigMap", "Secret"} or one["metadata"]["name"] in names]
        wanted = [one for one in wanted if one["kind"] in {"ConfigMap", "Secret", "Deployment", "Job"}]
        self("kube", "play", "--replace", "-", given=yaml.safe_dump_all(wanted))

    def answers(self, name: str, command: list[str]) -> Callable[[], bool]:
        """Return a condition: a command in the container of a workload exits with 0."""
        box = ["docker", "exec", self._box, "podman", "exec", f"{name}-pod-{name}", *command]
        return lambda: subprocess.run(box, capture_output=True, check=False).returncode == 0

    def ask(self, path: str, *arguments: str, host: str = HOST) -> tuple[int, str]:
        """Ask the gateway; the status and the body."""
        curl = [
            "curl",
            "--silent",
            "--header",
            f"Host: {host}",
            "--write-out",
            "\n%{http_code}",
            *arguments,
            f"http://127.0.0.1:8080{path}",
        ]
        body, _, status = self("exec", "gateway-pod-gateway", *curl).rpartition("\n")
        return int(status), body


@pytest.fixture(scope="module")
def podman(unavailable: Mapping[str, str], not_run: Callable[[str], None]) -> Iterator[Podman]:
    """With the images, and nothing that runs."""
    if unavailable["compose"]:
        not_run(unavailable["compose"])
    built = ComposeStack("unused", root=ROOT, settings=read_settings(ROOT, {})).compose("build", "--quiet", "app", "gateway", "waf")
    assert built.returncode == 0, built.stderr
    image = f"kit-podman-{os.getpid()}"
    subprocess.run(["docker", "build", "--quiet", "--tag", image, ROOT / "tests/kubernetes/podman"], check=True, capture_output=True)
    command = ["docker", "run", "--detach", "--rm", "--init", *RIGHTS, image, "sleep", "infinity"]
    box = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    try:
        podman = Podman(box)
        ours = {os.environ[f"{name.upper()}_IMAGE"]: f"registry.example.org/flask-kit-{name}:1" for name in ("app", "gateway", "waf")}
        podman.take({**ours, "postgres:18-trixie": "docker.io/library/postgres:18-trixie"})
        yield podman
    finally:
        subprocess.run(["docker", "rm", "--force", "--volumes", box], check=True, capture_output=True)
        subprocess.run(["docker", "image", "rm", image], check=True, capture_output=True)


@pytest.fixture(scope="module")
def site(podman: Podman, render: Render) -> Podman:
    """All workloads, in the order of a release."""
    manifests = parse(render("podman"))
    podman.play(manifests, "database")
    wait_until(podman.answers("database", ["pg_isready", "--host=127.0.0.1"]), READY_S, "the database does not answer")
    podman.play(manifests, "migrate")
    assert podman("wait", "migrate-pod-migrate").strip() == "0", podman("logs", "migrate-pod-migrate")
    podman.play(manifests, "app", "waf", "gateway")
    healthy = ["curl", "--fail", "--header", f"Host: {HOST}", "http://127.0.0.1:8080/healthz"]
    wait_until(podman.answers("gateway", healthy), READY_S, lambda: podman("pod", "logs", "gateway-pod"))
    return podman


def test_the_site_answers_through_gateway_waf_app_and_database(site: Podman) -> None:
    said = site.ask("/api/entries", "--json", '{"name": "Ada", "message": "from a pod"}')

    assert said[0] == 201, said
    assert [site.ask(path)[0] for path in ("/", "/readyz")] == [200, 200]
    assert "from a pod" in site.ask("/api/entries")[1]


def test_waf_and_gateway_refuse(site: Podman) -> None:
    assert site.ask("/?q=%3Cscript%3Ealert(1)%3C/script%3E")[0] == 403
    assert site.ask("/", host="other.example")[0] == 421


def test_probes_hold(site: Podman, render: Render) -> None:
    """Each command of a probe, in its container; what kubelet asks by address, from outside of it."""
    ready: dict[str, Any] = {}
    for one in parse(render("podman")):
        if one["kind"] == "Deployment":
            ready[one["metadata"]["name"]] = one["spec"]["template"]["spec"]["containers"][0]["readinessProbe"]
    address = site("exec", "gateway-pod-gateway", "hostname", "-i").strip()
    asked = ready["gateway"]["httpGet"]

    assert [name for name, probe in ready.items() if "exec" in probe and not site.answers(name, probe["exec"]["command"])()] == []
    assert site.answers("waf", ["curl", "--fail", f"http://{address}:{asked['port']}{asked['path']}"])()


def test_pods_have_what_the_manifests_bound(site: Podman) -> None:
    """No writable root, no capability, a folder in memory for what must be written."""
    (app,) = json.loads(site("container", "inspect", "app-pod-app"))

    assert app["HostConfig"]["ReadonlyRootfs"]
    assert app["EffectiveCaps"] in (None, [])
    assert not site.answers("app", ["touch", "/srv/file"])()
    assert site.answers("app", ["sh", "-c", "touch /tmp/file && grep -q ' /tmp tmpfs ' /proc/mounts"])()
