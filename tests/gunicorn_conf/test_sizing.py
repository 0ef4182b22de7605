"""Workers follow what this process may use of the CPUs, never the host's cores."""

import os
from pathlib import Path

import pytest

from tests.clients import wait_until
from tests.gunicorn_conf.process import PATIENCE_S, LoadConf, Start

V2_MOUNT = "30 23 0:26 {root} /sys/fs/cgroup ro,nosuid - cgroup2 cgroup rw\n"
V1_MOUNT = "33 32 0:28 {root} /sys/fs/cgroup/cpu,cpuacct ro,nosuid master:11 - cgroup cgroup rw,cpu,cpuacct\n"
V1_OTHER = "34 32 0:29 / /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n"


class Tree:
    """A /proc and a cgroup file system as a container would see them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "proc/self").mkdir(parents=True)
        self.describe("0::/\n", "")

    def describe(self, cgroup: str, mounts: str) -> None:
        """Write /proc/self/cgroup and /proc/self/mountinfo."""
        (self.root / "proc/self/cgroup").write_text(cgroup)
        (self.root / "proc/self/mountinfo").write_text("22 1 254:0 / / rw - ext4 /dev/root rw\n" + mounts)

    def v2(self, folder: str, limit: str) -> None:
        """Set cpu.max of a cgroup."""
        path = self.root / "sys/fs/cgroup" / folder
        path.mkdir(parents=True, exist_ok=True)
        (path / "cpu.max").write_text(f"{limit}\n")

    def v1(self, folder: str, quota: int, period: int = 100000) -> None:
        """Set quota and period of a cgroup."""
        path = self.root / "sys/fs/cgroup/cpu,cpuacct" / folder
        path.mkdir(parents=True, exist_ok=True)
        (path / "cpu.cfs_quota_us").write_text(f"{quota}\n")
        (path / "cpu.cfs_period_us").write_text(f"{period}\n")


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


def test_v2_in_a_container_of_its_own(conf: LoadConf, tree: Tree) -> None:
    tree.describe("0::/\n", V2_MOUNT.format(root="/"))
    tree.v2("", "150000 100000")

    assert conf().cpu_quota(tree.root) == 1.5


def test_v2_without_a_limit(conf: LoadConf, tree: Tree) -> None:
    tree.describe("0::/\n", V2_MOUNT.format(root="/"))
    tree.v2("", "max 100000")

    assert conf().cpu_quota(tree.root) is None


def test_v2_takes_the_smallest_limit_up_the_tree(conf: LoadConf, tree: Tree) -> None:
    """Slices of systemd and Kubernetes pods limit a parent; the folder of the process itself says max."""
    tree.describe("0::/kube.slice/pod/app\n", V2_MOUNT.format(root="/"))
    tree.v2("kube.slice", "400000 100000")
    tree.v2("kube.slice/pod", "50000 100000")
    tree.v2("kube.slice/pod/app", "max 100000")
    tree.v2("kube.slice/pod/neighbour", "10000 100000")

    assert conf().cpu_quota(tree.root) == 0.5


def test_v2_with_the_hosts_namespace_is_read_at_the_mount(conf: LoadConf, tree: Tree) -> None:
    tree.describe("0::/docker/4f2a\n", V2_MOUNT.format(root="/docker/4f2a"))
    tree.v2("", "200000 100000")

    assert conf().cpu_quota(tree.root) == 2


def test_v2_outside_of_the_own_namespace_is_read_at_the_mount(conf: LoadConf, tree: Tree) -> None:
    tree.describe("0::/../other\n", V2_MOUNT.format(root="/"))
    tree.v2("", "200000 100000")

    assert conf().cpu_quota(tree.root) == 2


def test_v1_in_a_container(conf: LoadConf, tree: Tree) -> None:
    """/proc/self/cgroup names the host's path, the mount shows the container's own folder."""
    tree.describe("4:memory:/docker/4f2a\n2:cpu,cpuacct:/docker/4f2a\n", V1_OTHER + V1_MOUNT.format(root="/docker/4f2a"))
    tree.v1("", 25000, 50000)

    assert conf().cpu_quota(tree.root) == 0.5


def test_v1_without_a_limit(conf: LoadConf, tree: Tree) -> None:
    tree.describe("2:cpu,cpuacct:/\n", V1_MOUNT.format(root="/"))
    tree.v1("", -1)

    assert conf().cpu_quota(tree.root) is None


def test_v1_takes_the_smallest_limit_up_the_tree(conf: LoadConf, tree: Tree) -> None:
    hybrid = V2_MOUNT.format(root="/").replace("/sys/fs/cgroup", "/sys/fs/cgroup/unified")
    tree.describe("2:cpu,cpuacct:/batch/app\n0::/\n", V1_MOUNT.format(root="/") + hybrid)
    tree.v1("batch", 300000)
    tree.v1("batch/app", -1)

    assert conf().cpu_quota(tree.root) == 3


def test_a_machine_without_cgroups_has_no_quota(conf: LoadConf, tmp_path: Path) -> None:
    assert conf().cpu_quota(tmp_path) is None


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
    conf: LoadConf, monkeypatch: pytest.MonkeyPatch, quota: float | None, cores: tuple[int, int], counted: tuple[float, str]
) -> None:
    usable, on_host = cores
    module = conf()
    monkeypatch.setattr(module, "cpu_quota", lambda: quota)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(usable)), raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: on_host)

    assert module.usable_cpus() == counted


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
def test_the_number_of_workers(conf: LoadConf, monkeypatch: pytest.MonkeyPatch, worker_class: str, cpus: float, workers: int) -> None:
    module = conf()
    monkeypatch.setattr(module, "worker_class", worker_class)
    monkeypatch.setattr(module, "usable_cpus", lambda: (cpus, "so we say"))

    assert module.default_workers()[0] == workers


def test_the_start_says_what_runs_and_why(start: Start) -> None:
    assert "1 workers of class gthread (WEB_CONCURRENCY), 8 requests at once in each" in start({"WEB_CONCURRENCY": "1"}).log()

    gunicorn = start({"GUNICORN_WORKERS": "3"})
    assert "3 workers of class gthread (GUNICORN_WORKERS or the command line)" in gunicorn.log()
    wait_until(lambda: gunicorn.log().count("Booting worker") == 3, "three workers", timeout_s=PATIENCE_S)


@pytest.mark.parametrize(
    ("settings", "concurrency"),
    [
        ({}, "8"),
        ({"GUNICORN_THREADS": "3"}, "3"),
        ({"GUNICORN_WORKER_CLASS": "sync"}, "1"),
        ({"GUNICORN_WORKER_CLASS": "gevent", "GUNICORN_WORKER_CONNECTIONS": "50"}, "50"),
        ({"GUNICORN_WORKER_CLASS": "tornado"}, "1"),
    ],
)
def test_the_application_is_told_how_many_requests_come_at_once(start: Start, settings: dict[str, str], concurrency: str) -> None:
    _, facts = start(settings).get("/")

    assert facts["environment"]["WORKER_CONCURRENCY"] == concurrency
