"""Workers follow what this process may use of the CPUs, never the host's cores."""

import os
from pathlib import Path

import pytest

from gunicorn_hooks import sizing
from tests.clients import wait_until
from tests.gunicorn_conf.process import PATIENCE_S, Start


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({"cpu.max": "150000 100000\n"}, 1.5),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "25000\n", "cpu/cpu.cfs_period_us": "50000\n"}, 0.5),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
    ],
)
def test_the_quota_is_that_of_the_container(tmp_path: Path, files: dict[str, str], quota: float | None) -> None:
    """What is mounted there is the container's own folder, in cgroup v2 and v1."""
    for name, text in files.items():
        path = tmp_path / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    assert sizing.cpu_quota(tmp_path) == quota


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
