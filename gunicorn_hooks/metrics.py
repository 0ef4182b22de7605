"""Metrics for Prometheus (docs/metrics.md), where METRICS_DIR names a folder that the workers of all containers share.

prometheus-client keeps what a process counts in files named by its pid, which stay when it ends: two more for each worker that
max_requests replaces. Here a worker takes the lowest number that is free, by a lock that the kernel gives back however it ends,
and goes on in the files of the last one that had it: never more files than workers at once. (tornado calls no such hooks.)
"""

import fcntl
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

METHODS = {"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"}
MOST_SERIES = 200  # of route, method and status in one worker, 4 KB each; later ones have the route "other"
FILE_SIZE = 1 << 20  # bytes, taken at once: a write into a page for which the disk has no room kills the worker (SIGBUS)


def lock(folder: Path, number: int) -> int | None:
    """Return a file that holds the lock of a number, None where a worker has it."""
    file = os.open(folder / f"{number}.lock", os.O_RDONLY | os.O_CREAT, 0o644)
    with suppress(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return file
    os.close(file)
    return None


def take_number(folder: Path) -> int:
    """Return the number of this process, which keeps the lock until it ends."""
    number = next(each for each in range(1 << 22) if lock(folder, each) is not None)
    (folder / f"gauge_livesum_{number}.db").unlink(missing_ok=True)  # what a killed one had in flight
    for kind in ("counter", "gauge_livesum", "histogram"):
        with (folder / f"{kind}_{number}.db").open("ab") as file:
            os.posix_fallocate(file.fileno(), 0, FILE_SIZE)
    return number


def install(_server: Any, worker: Any) -> None:
    """Have a worker count, before it imports the application, whose own metrics are then kept here too."""
    folder = os.environ["METRICS_DIR"]
    try:
        import prometheus_client as prometheus

        number = take_number(Path(folder))
    except (ImportError, OSError) as error:
        worker.log.warning("METRICS_DIR=%s: %s; this worker serves without metrics", folder, error)
        return
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
    prometheus.values.ValueClass = prometheus.values.MultiProcessValue(lambda: number)  # type: ignore[no-untyped-call]
    count_requests(worker.cfg, prometheus)
    with suppress(ImportError):
        from flask import request, request_started

        def note_route(*_: Any, **__: Any) -> None:  # Flask's rule, gone when the request ends; an unknown path has none
            one = request._get_current_object()  # type: ignore[attr-defined]  # noqa: SLF001 - the proxy looks it up each time
            one.environ["kit.route"] = one.url_rule.rule[:100] if one.url_rule else ""

        request_started.connect(note_route, weak=False)


def count_requests(cfg: Any, prometheus: Any) -> None:
    """Count in hooks, around those of gunicorn.conf.py: a wrapper of the application would take sendfile() from it."""
    prometheus.Counter("kit_workers_started", "Workers that have begun.").inc()
    prometheus.Gauge("kit_in_flight_max", "The most.", multiprocess_mode="livesum").set(int(os.environ["WORKER_CONCURRENCY"]))
    in_flight = prometheus.Gauge("kit_in_flight", "Requests in workers.", multiprocess_mode="livesum")
    took = prometheus.Histogram("kit_request_seconds", "In a worker.", ["route", "method", "status"])
    queued = prometheus.Histogram("kit_queue_seconds", "From the gateway to a thread of a worker, the WAF included.")
    series: dict[tuple[str, str, str], Any] = {}
    before, after = cfg.pre_request, cfg.post_request

    def begin(worker: Any, request: Any) -> None:
        before(worker, request)  # raises where nobody waits any longer
        in_flight.inc()
        request.began = time.time(), time.perf_counter()

    def end(worker: Any, request: Any, environ: dict[str, Any], response: Any) -> None:
        if began := getattr(request, "began", None):
            in_flight.dec()
            status = f"{response.status[0] if response and response.status else 5}xx"
            key = (environ.get("kit.route", ""), request.method if request.method in METHODS else "other", status)
            key = key if key in series or len(series) < MOST_SERIES else ("other", *key[1:])
            (series.get(key) or series.setdefault(key, took.labels(*key))).observe(time.perf_counter() - began[1])
            if (start := environ.get("HTTP_X_REQUEST_START", "")[2:]).replace(".", "", 1).isdecimal():  # it came by the gateway
                queued.observe(max(0.0, began[0] - float(start)))
        after(worker, request, environ, response)

    cfg.set("pre_request", begin)
    cfg.set("post_request", end)
