"""Workers follow what this process may use of the CPUs, never the host's cores."""

import os
from pathlib import Path

import pytest

from gunicorn_hooks import sizing
from tests.clients import wait_until
from tests.gunicorn_conf.process import PATIENCE_S, Start


class Tree:
    """A /proc and a cgroup file system as a container would see them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "proc/self").mkdir(parents=True)

    def own(self, *cgroups: str) -> None:
        """Write /proc/self/cgroup."""
        (self.root / "proc/self/cgroup").write_text("\n".join(cgroups) + "\n")

    def v2(self, folder: str, limit: str) -> None:
        """Set cpu.max of a cgroup."""
        path = self.root / "sys/fs/cgroup" / folder
        path.mkdir(parents=True, exist_ok=True)
        (path / "cpu.max").write_text(f"{limit}\n")

    def v1(self, folder: str, quota: int, period: int = 100000) -> None:
        """Set quota and period of a cgroup."""
        path = self.root / "sys/fs/cgroup/cpu" / folder
        path.mkdir(parents=True, exist_ok=True)
        (path / "cpu.cfs_quota_us").write_text(f"{quota}\n")
        (path / "cpu.cfs_period_us").write_text(f"{period}\n")


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


def test_v2_in_a_container_of_its_own(tree: Tree) -> None:
    tree.own("0::/")
    tree.v2("", "150000 100000")

    assert sizing.cpu_quota(tree.root) == 1.5


def test_v2_without_a_limit(tree: Tree) -> None:
    tree.own("0::/")
    tree.v2("", "max 100000")

    assert sizing.cpu_quota(tree.root) is None


def test_v2_takes_the_smallest_limit_up_the_tree(tree: Tree) -> None:
    """Slices of systemd and Kubernetes pods limit a parent; the folder of the process itself says max."""
    tree.own("0::/kube.slice/pod/app")
    tree.v2("kube.slice", "400000 100000")
    tree.v2("kube.slice/pod", "50000 100000")
    tree.v2("kube.slice/pod/app", "max 100000")
    tree.v2("kube.slice/pod/neighbour", "10000 100000")

    assert sizing.cpu_quota(tree.root) == 0.5


@pytest.mark.parametrize("path", ["/docker/4f2a", "/../other"])
def test_v2_with_a_path_of_the_host_is_read_at_the_mount(tree: Tree, path: str) -> None:
    tree.own(f"0::{path}")
    tree.v2("", "200000 100000")

    assert sizing.cpu_quota(tree.root) == 2


def test_v1_in_a_container(tree: Tree) -> None:
    """/proc/self/cgroup names the host's path, the mount shows the container's own folder."""
    tree.own("4:memory:/docker/4f2a", "2:cpu,cpuacct:/docker/4f2a")
    tree.v1("", 25000, 50000)

    assert sizing.cpu_quota(tree.root) == 0.5


def test_v1_without_a_limit(tree: Tree) -> None:
    tree.own("2:cpu,cpuacct:/")
    tree.v1("", -1)

    assert sizing.cpu_quota(tree.root) is None


def test_v1_takes_the_smallest_limit_up_the_tree(tree: Tree) -> None:
    tree.own("2:cpu,cpuacct:/batch/app", "0::/")
    tree.v1("batch", 300000)
    tree.v1("batch/app", -1)

    assert sizing.cpu_quota(tree.root) == 3


def test_a_machine_without_cgroups_has_no_quota(tmp_path: Path) -> None:
    assert sizing.cpu_quota(tmp_path) is None


@pytest.mark.parametrize(
    ("quota", "cores", "counted"),
    [
        (1.5, (8, 8), (1.5, "CPU quota of 1.5")),
        (4.0, (2, 8), (2, "2 CPUs of the cpuset")),
        (None, (2, 8), (2, "2 CPUs of the cpuset")),
        (None, (64, 64), (4, "no CPU limit, 64 cores seen, at most 4 counted")),
        (None, (2, 2), (2, "no CPU limit, 2 cores seen, at most 4 counted")),
    ],
)
def test_the_smaller_of_quota_and_cpuset_counts(
    monkeypatch: pytest.MonkeyPatch, quota: float | None, cores: tuple[int, int], counted: tuple[float, str]
) -> None:
    usable, on_host = cores
    monkeypatch.setattr(sizing, "cpu_quota", lambda: quota)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(usable)), raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: on_host)

    assert sizing.usable_cpus() == counted


@pytest.mark.parametrize(
    ("worker_class", "cpus", "workers"),
    [
        ("gthread", 0.5, 2),
        ("gthread", 1, 2),
        ("gthread", 3, 3),
        ("gevent", 2.5, 3),
        ("tornado", 1, 2),
        ("sync", 0.5, 3),
        ("sync", 1, 3),
        ("sync", 2, 5),
    ],
)
def test_the_number_of_workers(monkeypatch: pytest.MonkeyPatch, worker_class: str, cpus: float, workers: int) -> None:
    monkeypatch.setattr(sizing, "usable_cpus", lambda: (cpus, "as measured"))
    monkeypatch.delenv("WEB_CONCURRENCY", raising=False)

    assert sizing.workers(worker_class) == workers


def test_the_start_says_what_runs_and_why(start: Start) -> None:
    assert "1 workers of class gthread (WEB_CONCURRENCY), 8 requests in flight in each" in start({"WEB_CONCURRENCY": "1"}).log()

    gunicorn = start({"WEB_CONCURRENCY": "3"})
    wait_until(lambda: gunicorn.log().count("Booting worker") == 3, "three workers", timeout_s=PATIENCE_S)


@pytest.mark.parametrize("preload", ["", " --preload"])
@pytest.mark.parametrize(
    ("settings", "concurrency"),
    [
        ({}, "8"),
        ({"GUNICORN_THREADS": "3"}, "3"),
        ({"GUNICORN_CMD_ARGS": "--threads 4"}, "4"),
        ({"GUNICORN_WORKER_CLASS": "sync"}, "1"),
        ({"GUNICORN_WORKER_CLASS": "gevent", "GUNICORN_CMD_ARGS": "--worker-connections 50"}, "50"),
        ({"GUNICORN_WORKER_CLASS": "tornado"}, "1"),
    ],
)
def test_the_application_is_told_how_many_requests_come_at_once(
    start: Start, settings: dict[str, str], concurrency: str, preload: str
) -> None:
    """Also when it is imported before there is a worker: it sizes its pool then."""
    gunicorn = start({**settings, "GUNICORN_CMD_ARGS": settings.get("GUNICORN_CMD_ARGS", "") + preload})
    _, facts = gunicorn.get("/")

    assert (facts["environment"]["WORKER_CONCURRENCY"], facts["at_import"]) == (concurrency, concurrency)
