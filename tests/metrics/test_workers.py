"""gunicorn_hooks/metrics.py in a real gunicorn with two workers, and compose/metrics/exporter.py."""

import os
import signal
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from pathlib import Path

import pytest

from tests.clients import wait_until
from tests.gunicorn_conf.process import Gunicorn, copy_of_the_kit
from tests.metrics.conftest import Exporter, Numbers, Serve

# How often workers are replaced; 500 were tried by hand (docs/metrics.md).
TIMES = int(os.environ.get("METRICS_TIMES", "15"))


def ask(gunicorn: Gunicorn, method: str, path: str, headers: dict[str, str] | None = None) -> int:
    connection = gunicorn.connect()
    connection.request(method, path, headers=headers or {})
    status = connection.getresponse().status
    connection.close()
    return status


def requests(numbers: Numbers) -> Numbers:
    return {labels[1:]: value for labels, value in numbers.items() if labels[0] == "kit_request_seconds_count"}


def test_requests_are_counted_by_route_method_and_status(serve: Serve, exporter: Exporter) -> None:
    """Over both workers and whatever is asked for: the labels are a few."""
    gunicorn = serve()
    at_start = requests(exporter.settled())[("GET", "/", "2xx")]
    statuses = [ask(gunicorn, "GET", f"/things/{number}") for number in range(20)]
    statuses += [ask(gunicorn, f"MADE{number}", f"/unknown/{number}") for number in range(20)]
    statuses += [ask(gunicorn, "POST", "/things") for _ in range(20)]
    assert statuses == [500, *[200] * 19, *[404] * 20, *[200] * 20]

    counted = requests(exporter.settled())
    assert counted == {
        ("GET", "/", "2xx"): at_start,
        ("GET", "/things/<int:number>", "2xx"): 19,
        ("GET", "/things/<int:number>", "5xx"): 1,
        ("other", "", "4xx"): 20,
        ("POST", "/things", "2xx"): 20,
    }
    assert exporter.settled()[("shop_sold_total",)] == 20  # the application's own, in both workers


def test_an_application_with_more_routes_than_there_is_room_for(serve: Serve, exporter: Exporter, folder: Path) -> None:
    gunicorn = serve(WEB_CONCURRENCY="1")
    assert {ask(gunicorn, "GET", f"/many/{place}") for place in range(300)} == {200}
    counted = requests(exporter.settled())

    assert len(counted) == 201
    assert counted[("GET", "other", "2xx")] == 300 - 199  # one of the 200 is /
    assert {file.stat().st_size for file in folder.glob("*.db")} == {1 << 20}


def test_the_wait_before_the_worker_is_that_since_the_gateway(serve: Serve, exporter: Exporter) -> None:
    gunicorn = serve()
    assert {ask(gunicorn, "GET", "/", {"X-Request-Start": start}) for start in ("t=1", "t=nonsense", "")} == {200}
    numbers = exporter.settled()

    assert numbers[("kit_queue_seconds_count",)] == 1
    assert numbers[("kit_queue_seconds_sum",)] > 1e9


def test_what_a_killed_worker_had_in_flight_is_gone(serve: Serve, exporter: Exporter) -> None:
    """And what it had counted stays."""
    gunicorn = serve(WEB_CONCURRENCY="1")
    before = requests(exporter.settled())
    (worker,) = Path(f"/proc/{gunicorn.pid}/task/{gunicorn.pid}/children").read_text().split()
    with ThreadPoolExecutor(3) as threads:
        gone = [threads.submit(ask, gunicorn, "GET", "/slow") for _ in range(3)]
        wait_until(lambda: exporter.numbers()[("kit_in_flight",)] == 3, "three are in flight")
        os.kill(int(worker), signal.SIGKILL)
        assert all(isinstance(one.exception(), (OSError, HTTPException)) for one in gone)
    wait_until(lambda: exporter.numbers().get(("kit_workers_started_total",)) == 2, "there is another worker")

    numbers = exporter.settled()
    assert (numbers[("kit_in_flight",)], numbers[("kit_in_flight_max",)]) == (0, 8)
    assert requests(numbers) == before


def replaced(gunicorn: Gunicorn, exporter: Exporter) -> None:
    """Have each request answered by a worker of its own."""
    wanted = exporter.numbers()[("kit_workers_started_total",)] + TIMES
    while exporter.numbers()[("kit_workers_started_total",)] < wanted:
        assert gunicorn.status() in {0, 200}


def test_replaced_workers_leave_no_files(serve: Serve, exporter: Exporter, folder: Path) -> None:
    gunicorn = serve("--max-requests", "1", "--max-requests-jitter", "0", PRELOAD_LIBRARIES="flask prometheus_client")
    replaced(gunicorn, exporter)

    assert len(list(folder.glob("*.lock"))) <= 4  # two, and their successors
    assert len(list(folder.glob("*.db"))) <= 12


def test_without_numbers_they_would(serve: Serve, exporter: Exporter, folder: Path, tmp_path: Path) -> None:
    """The twin: prometheus-client's own way."""
    conf = copy_of_the_kit(tmp_path)
    hook = conf.parent / "gunicorn_hooks/metrics.py"
    hook.write_text(hook.read_text().replace("range(1 << 22)", "range(os.getpid(), 1 << 22)"))
    gunicorn = serve("--max-requests", "1", "--max-requests-jitter", "0", conf=conf, PRELOAD_LIBRARIES="flask prometheus_client")
    replaced(gunicorn, exporter)

    assert len(list(folder.glob("*.db"))) > 2 * TIMES


@pytest.fixture
def small(folder: Path, not_run: Callable[[str], None]) -> object:
    """METRICS_DIR is full."""
    if os.geteuid():
        not_run("only root can mount a small file system")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], check=True)
    (folder / "full").write_bytes(bytes(1 << 20))
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def test_a_full_volume_costs_the_metrics_and_no_request(serve: Serve, small: Path) -> None:
    gunicorn = serve(WEB_CONCURRENCY="1")

    assert {ask(gunicorn, "GET", f"/many/{place}") for place in range(50)} == {200}
    assert f"METRICS_DIR={small}: [Errno 28] No space left on device; this worker serves without metrics" in gunicorn.log()


@pytest.mark.usefixtures("small")
def test_without_room_that_is_taken_at_once_workers_would_die(serve: Serve, tmp_path: Path) -> None:
    """The twin."""
    conf = copy_of_the_kit(tmp_path)
    hook = conf.parent / "gunicorn_hooks/metrics.py"
    hook.write_text(hook.read_text().replace("os.posix_fallocate(file.fileno(), 0, FILE_SIZE)", "pass"))
    gunicorn = serve(conf=conf, ready=False, WEB_CONCURRENCY="1")

    wait_until(lambda: "SIGBUS" in gunicorn.log(), "a worker has died")


def test_without_a_folder_nothing_is_imported(serve: Serve, folder: Path) -> None:
    gunicorn = serve(METRICS_DIR="")

    assert gunicorn.get("/") == (200, b"False")
    assert list(folder.iterdir()) == []


def test_without_the_package_it_serves(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.modules['prometheus_client'] = None")
    here = Path(__file__).parents[1]
    gunicorn = serve(APP_MODULE="tiny_app:app", PYTHONPATH=f"{tmp_path}:{here / 'gunicorn_conf'}")

    assert "import of prometheus_client halted; None in sys.modules; this worker serves without metrics" in gunicorn.log()
