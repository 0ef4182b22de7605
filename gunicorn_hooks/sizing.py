"""Worker processes by the CPU quota of the container, and a check of the final worker settings."""

import contextlib
import importlib.util
import math
import os
from pathlib import Path
from typing import Any

from gunicorn_hooks import refuse

CLASSES = {"gthread": None, "sync": None, "gevent": "gevent", "tornado": "tornado"}  # and the package that each needs
# Without a limit the cores are the host's: 64 cores would mean 64 workers in each container. WEB_CONCURRENCY asks for more.
UNLIMITED_CPUS = 4


def workers(worker_class: str) -> int:
    """Return WEB_CONCURRENCY, or what the CPU quota suggests."""
    check_class(worker_class)
    return int(os.environ.get("WEB_CONCURRENCY") or default_workers(worker_class)[0])


def default_workers(worker_class: str) -> tuple[int, str]:
    """Return a number of processes and the reason for it."""
    cpus, reason = usable_cpus()
    whole = max(1, math.ceil(cpus))
    if worker_class == "sync":  # while one waits, another can use the CPU
        return 2 * whole + 1, f"2 x CPUs + 1, {reason}"
    # Never one: while it restarts (max_requests) or hangs until its timeout, none would answer.
    return max(2, whole), f"one per CPU and at least 2, {reason}"


def usable_cpus() -> tuple[float, str]:
    """Return how many CPUs this process can count on, and why."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1  # a cpuset shows here
    quota = cpu_quota()
    if quota is not None and quota <= cores:
        return quota, f"CPU quota of {quota:g}"
    if quota is not None or cores < (os.cpu_count() or 1):
        return cores, f"{cores} CPUs of the cpuset"
    return min(cores, UNLIMITED_CPUS), f"no CPU limit, {cores} cores seen, at most {UNLIMITED_CPUS} counted"


def cpu_quota(root: Path = Path("/")) -> float | None:
    """Return the CPU quota of the container (cgroup v2, else v1), None without one."""
    cgroup = root / "sys/fs/cgroup"
    v2, v1 = [cgroup / "cpu.max"], [cgroup / f"cpu/cpu.cfs_{name}_us" for name in ("quota", "period")]
    with contextlib.suppress(OSError):
        quota, period = " ".join(file.read_text() for file in (v2 if v2[0].exists() else v1)).split()
        return None if quota in {"max", "-1"} else int(quota) / int(period)
    return None


def check_class(name: str) -> None:
    """Refuse a class that cannot be sized. gevent_pywsgi takes Content-Length with chunked (smuggling), asgi serves no WSGI."""
    if name not in CLASSES:
        refuse(f"worker class {name}: right is {', '.join(CLASSES)} (GUNICORN_WORKER_CLASS)")
    if (package := CLASSES[name]) and not importlib.util.find_spec(package):
        refuse(f"worker class {name}: {package} is not installed; pip install 'gunicorn[{package}]'")


def check(server: Any, count: int) -> None:
    """Refuse combinations that would not do what they say, export WORKER_CONCURRENCY, and log the sizing."""
    cfg, name = server.cfg, str(server.cfg.settings["worker_class"].get())
    check_class(name)
    if count < 1:
        refuse(f"workers={count}: without a worker no request is answered; right is 1 or more (WEB_CONCURRENCY)")
    if name == "sync" and cfg.threads > 1:
        refuse(f"threads={cfg.threads} with worker class sync: gunicorn would run gthread; set GUNICORN_WORKER_CLASS=gthread")
    if name == "gevent" and not importlib.import_module("gevent.monkey").is_module_patched("socket"):
        refuse("--worker-class gevent: set GUNICORN_WORKER_CLASS=gevent instead, it is patched before the application is imported")
    if name in {"gevent", "tornado"} and cfg.threads > 1:
        server.log.warning("threads=%s has no effect with worker class %s", cfg.threads, name)
    os.environ["WORKER_CONCURRENCY"] = str({"gthread": cfg.threads, "gevent": cfg.worker_connections}.get(name, 1))
    why = "WEB_CONCURRENCY" if os.environ.get("WEB_CONCURRENCY") else dict([default_workers(name)]).get(count, "as asked")
    sizing = f"{count} workers of class {name} ({why}), {os.environ['WORKER_CONCURRENCY']} requests in flight in each"
    server.log.info("%s; X-Forwarded-* from %s", sizing, ",".join(cfg.forwarded_allow_ips))
