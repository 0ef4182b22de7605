"""Valid for three releases, restricted, and in agreement with what Compose says."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest

from tests.doctor.kits import doctor
from tests.kubernetes.conftest import ROOT, SMALL, Manifests, Render, parse
from tools.doctor import compose, kubernetes
from tools.doctor.compose import Services
from tools.doctor.facts import from_files
from tools.doctor.kubernetes import of_kind
from tools.doctor.report import judge
from tools.doctor.rules import RULES, Verdict
from tools.doctor.values import Missing

RELEASES = ("1.35", "1.36", "1.37")
KINDS = ("Deployment", "StatefulSet", "Job")
HARDENED, DRAIN = "common/hardened.yaml", "common/drain.yaml"
DNS_IS_OLD_S = 30 + 2  # CoreDNS' ttl as kubeadm sets it; nginx's valid=1s and the second that it adds
NGINX_WAITS_S = 30 + 5  # GUNICORN_TIMEOUT, and what nginx adds (APP_READ_TIMEOUT)
FREE_CONNECTIONS, FOR_EACH_APP = 100 - 3, 2 * 8


def pods(manifests: Manifests) -> Iterator[tuple[str, Mapping[str, Any]]]:
    yield from ((one["metadata"]["name"], one["spec"]["template"]["spec"]) for kind in KINDS for one in of_kind(manifests, kind))


# --- The API's schemas


@pytest.mark.parametrize("release", RELEASES)
def test_every_manifest_is_valid(manifests: Manifests, release: str) -> None:
    for one in manifests:
        kubernetes_validate.validate(one, release, strict=True)


def test_a_name_that_the_api_does_not_have_is_invalid(render: Render) -> None:
    """The twin: the schemas are strict."""
    wrong = parse(render("small", (DRAIN, "seconds: 35", "second: 35")))

    with pytest.raises(kubernetes_validate.ValidationError, match="second"):
        kubernetes_validate.validate(of_kind(wrong, "Deployment")[0], RELEASES[-1], strict=True)


# --- The doctor's rules


def verdicts(text: str, replicas: str = "maxReplicas") -> dict[str, Verdict]:
    findings = judge(RULES, from_files(ROOT, kubernetes.read(text, "rendered.yaml", replicas)), None)
    return {one.rule: one.verdict for one in findings}


@pytest.mark.parametrize("replicas", ["minReplicas", "maxReplicas"])
def test_the_doctor_finds_nothing(text: str, overlay: str, replicas: str) -> None:
    found = verdicts(text, replicas)

    elsewhere = {"large": {"database-connections"}}.get(overlay, set())  # its database is not among the manifests
    assert {name: verdict for name, verdict in found.items() if verdict is not Verdict.OK} == dict.fromkeys(elsewhere, Verdict.NOT_CHECKED)


@pytest.mark.parametrize(
    ("rule", "edit"),
    [
        ("stop", (DRAIN, "value: 75", "value: 65")),
        ("in-flight", (SMALL, "MAX_IN_FLIGHT=32", "MAX_IN_FLIGHT=6")),
        ("database-connections", ("base/app.yaml", "maxReplicas: 4", "maxReplicas: 7")),
        ("memory-workers", ("base/app.yaml", 'limits: {cpu: "1", memory: 512Mi}', 'limits: {cpu: "1", memory: 128Mi}')),
        ("tmpfs-memory", ("base/gateway.yaml", "sizeLimit: 512Mi", "sizeLimit: 1Gi")),
        ("upstream-names", ("base/waf.yaml", r"app\.\$\(NAMESPACE\)", "web.$(NAMESPACE)")),
        ("limits-on", (SMALL, "- MAX_IN_FLIGHT=32", "- MAX_IN_FLIGHT=32\n      - LIMITS=off")),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_an_edit_breaks_a_rule(render: Render, rule: str, edit: tuple[str, str, str]) -> None:
    assert verdicts(render("small", edit))[rule] in {Verdict.BROKEN, Verdict.WARN}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("kind: [", "these are no manifests that can be read: ParserError"),
        ("a: 1", "these are no manifests that can be read: KeyError: 'kind'"),
        ("kind: Namespace", "there is no Deployment app and none gateway; right is what kubectl kustomize prints"),
    ],
)
def test_what_is_no_site_is_refused_in_a_line(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "site.yaml").write_text(text)
    report = doctor("--manifests", str(tmp_path / "site.yaml"), env={})

    assert (report.code, report.stdout, report.stderr.count("\n")) == (2, "", 1)
    assert report.stderr.startswith(f"doctor: {tmp_path}/site.yaml: {said}")


# --- What Compose has too


@pytest.fixture(scope="module")
def of_compose() -> Services:
    services = compose.read(ROOT)
    assert not isinstance(services, Missing), services.reason
    return services


def differences(text: str, services: Services) -> dict[str, tuple[Any, Any]]:
    """Return what differs between a pod and its service: limits, files in memory, the time to stop."""
    found = {}
    for name, pod in kubernetes.read(text, "rendered.yaml").all.items():
        service = services.get(name)
        for what in ("memory", "cpus", "stop_grace", "tmpfs"):
            here, there = value(getattr(pod, what)), value(getattr(service, what))
            if what == "tmpfs" and service.model.get("shm_size"):
                there["/dev/shm"] = int(service.model["shm_size"])  # noqa: S108
            if here != there:
                found[f"{name} {what}"] = here, there
    return found


def value(setting: Any) -> Any:
    if isinstance(setting, dict):
        return {name: value(one) for name, one in setting.items()}
    return getattr(setting, "value", setting)


def test_pods_have_what_their_services_have(text: str, of_compose: Services) -> None:
    assert differences(text, of_compose) == {}


@pytest.mark.parametrize(
    ("edit", "named"),
    [
        (("base/waf.yaml", 'limits: {cpu: "1"', "limits: {cpu: 500m"), "waf cpus"),
        (("base/app.yaml", "192Mi", "64Mi"), "app tmpfs"),
        ((DRAIN, "value: 75", "value: 80"), "app stop_grace"),
    ],
    ids=["cpus", "tmpfs", "stop_grace"],
)  # fmt: skip
def test_an_edit_is_a_difference(render: Render, of_compose: Services, edit: tuple[str, str, str], named: str) -> None:
    assert named in differences(render("small", edit), of_compose)


def test_commands_and_probes_are_those_of_compose(render: Render, of_compose: Services) -> None:
    containers = {name: pod["containers"][0] for name, pod in pods(parse(render("small")))}
    services = {name: service.model for name, service in of_compose.all.items()}

    assert containers["database"]["args"] == services["database"]["command"]
    assert containers["migrate"]["command"] == services["migrate"]["command"]
    for name in ("app", "database"):
        assert containers[name]["readinessProbe"]["exec"]["command"] == services[name]["healthcheck"]["test"][1:]
    requests = {name: one["resources"]["requests"] for name, one in containers.items()}
    shares = services["gateway"]["cpu_shares"] / services["app"]["cpu_shares"]
    assert float(requests["gateway"]["cpu"]) / (int(requests["app"]["cpu"].removesuffix("m")) / 1000) == shares


# --- Pod Security: restricted


def faults(name: str, pod: Mapping[str, Any]) -> Iterator[str]:
    """Yield what the standard, or this kit, does not allow."""
    context, kinds = pod["securityContext"], {kind for volume in pod["volumes"] for kind in volume} - {"name"}
    if pod.get("hostNetwork") or pod.get("hostPID") or pod.get("hostIPC") or kinds - {"emptyDir", "secret"}:
        yield f"{name}: the host"
    if not context.get("runAsNonRoot") or context.get("seccompProfile") != {"type": "RuntimeDefault"} or context.get("runAsUser") == 0:
        yield f"{name}: user, seccomp"
    if pod.get("automountServiceAccountToken") is not False or pod.get("enableServiceLinks") is not False:
        yield f"{name}: token, service links"
    if [one for one in pod["volumes"] if "emptyDir" in one and not one["emptyDir"].get("sizeLimit")]:
        yield f"{name}: a folder without a bound"
    for one in [*pod["containers"], *pod.get("initContainers", [])]:
        wanted = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "readOnlyRootFilesystem": True}
        if one.get("securityContext") != wanted:
            yield f"{name}: {one['name']}"


def test_pods_are_restricted(manifests: Manifests) -> None:
    assert [fault for name, pod in pods(manifests) for fault in faults(name, pod)] == []
    assert of_kind(manifests, "Namespace")[0]["metadata"]["labels"] == {"pod-security.kubernetes.io/enforce": "restricted"}


@pytest.mark.parametrize("line", range(5))
def test_without_a_line_they_are_not(render: Render, line: int) -> None:
    """The twin: each operation of hardened.yaml counts, for all five pods."""
    operations = [found.start() for found in re.finditer(r"(?m)^- ", (ROOT / "deploy/kubernetes" / HARDENED).read_text())]
    assert len(operations) == 5
    text = (ROOT / "deploy/kubernetes" / HARDENED).read_text()
    cut = text[operations[line] : [*operations, len(text)][line + 1]]
    loose = parse(render("small", (HARDENED, re.escape(cut), "")))

    assert {name for name, pod in pods(loose) if list(faults(name, pod))} == {"app", "gateway", "waf", "migrate", "database"}


def test_users_are_those_of_the_images(manifests: Manifests) -> None:
    """By number: kubelet cannot judge a name. Files of a Secret are readable for the pod's group alone."""
    groups = {name: pod["securityContext"]["fsGroup"] for name, pod in pods(manifests)}
    for name, folder in {"app": "app", "migrate": "app", "gateway": "nginx", "waf": "waf"}.items():
        assert re.findall(r"(?m)^USER (\d+):(\d+)$", (ROOT / folder / "Dockerfile").read_text()) == [(str(groups[name]),) * 2]


# --- Releases


def test_nginx_knows_before_a_pod_goes(manifests: Manifests) -> None:
    deployments = of_kind(manifests, "Deployment")
    stays = {one["spec"]["template"]["spec"]["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"] for one in deployments}

    assert len(deployments) == 3
    assert min(stays) > DNS_IS_OLD_S
    assert {one["spec"]["minReadySeconds"] for one in deployments} == stays
    assert {one["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] for one in deployments} == {0}


def test_a_full_queue_is_no_hang(manifests: Manifests) -> None:
    (app,) = dict(pods(manifests))["app"]["containers"]
    (patience,) = [int(one["value"]) for one in app["env"] if one["name"] == "PROBE_TIMEOUT"]

    assert NGINX_WAITS_S < patience < min(app[f"{kind}Probe"]["timeoutSeconds"] for kind in ("startup", "readiness", "liveness"))


def test_what_hangs_is_not_drained(manifests: Manifests) -> None:
    """A liveness probe's own time, far below the 75 s that a pod has to leave."""
    probes = [one["spec"]["template"]["spec"]["containers"][0]["livenessProbe"] for one in of_kind(manifests, "Deployment")]

    assert {probe["terminationGracePeriodSeconds"] for probe in probes} == {10}


def test_nodes_of_a_lost_zone_do_not_count(render: Render) -> None:
    """Where pods must be spread (DoNotSchedule): else the others would have to stay within one pod of a zone with none."""
    spread = [one for _, pod in pods(parse(render("large"))) for one in pod.get("topologySpreadConstraints", ())]
    must = [one for one in spread if one["whenUnsatisfiable"] == "DoNotSchedule"]

    assert len(must) == 3
    assert {(one["topologyKey"], one["nodeTaintsPolicy"]) for one in must} == {("topology.kubernetes.io/zone", "Honor")}


def test_a_rollout_leaves_the_database_its_connections(render: Render) -> None:
    """One more pod than replicas, and one that goes."""
    small = parse(render("small"))
    app = next(one for one in of_kind(small, "Deployment") if one["metadata"]["name"] == "app")
    most = of_kind(small, "HorizontalPodAutoscaler")[0]["spec"]["maxReplicas"] + app["spec"]["strategy"]["rollingUpdate"]["maxSurge"] + 1

    assert most * FOR_EACH_APP <= FREE_CONNECTIONS < (most + 1) * FOR_EACH_APP


def test_a_release_can_leave_out_the_app(manifests: Manifests) -> None:
    """-l app.kubernetes.io/component!=app (docs/kubernetes.md)."""
    labels = {(one["kind"], one["metadata"]["name"]): one["metadata"].get("labels", {}) for one in manifests}

    assert [what for what, having in labels.items() if having.get("app.kubernetes.io/component") == "app"] == [("Deployment", "app")]


def test_the_ingress_has_the_name_of_the_gateway(render: Render) -> None:
    edit = (
        "small/kustomization.yaml",
        "configMapGenerator:",
        "configMapGenerator:\n  - {name: settings, behavior: merge, literals: [SERVER_NAMES=shop.example]}",
    )
    manifests = parse(render("small", edit))
    ingress = of_kind(manifests, "Ingress")[0]["spec"]

    assert ingress["rules"][0]["host"] == ingress["tls"][0]["hosts"][0] == "shop.example"
    assert {one["data"].get("SERVER_NAMES") for one in of_kind(manifests, "ConfigMap")} == {"shop.example", None}


def test_a_missing_secret_is_named(render: Render) -> None:
    with pytest.raises(AssertionError, match=r"secrets\.env"):
        render("small", (SMALL, r"envs: \[secrets.env\]", "envs: [other/secrets.env]"))
