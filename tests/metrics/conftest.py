"""A gunicorn whose workers count, and the exporter that reads what they count."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families as parse

from tests.clients import wait_until
from tests.gunicorn_conf.process import CONF, Gunicorn, starting
from tools.stack.machine import free_ports

ROOT = CONF.parent
Numbers = dict[tuple[str, ...], float]
Serve = Callable[..., Gunicorn]


class Exporter:
    """compose/metrics/exporter.py on a free port of loopback."""

    def __init__(self, folder: Path) -> None:
        self.url = f"http://127.0.0.1:{(port := free_ports(1)[0])}/metrics"
        env = {**os.environ, "METRICS_DIR": str(folder), "PORT": str(port), "PYTHONPATH": str(ROOT)}
        self.process = subprocess.Popen([sys.executable, ROOT / "compose/metrics/exporter.py"], env=env)
        wait_until(self.answers, "the exporter answers")

    def answers(self) -> bool:
        with suppress(httpx.TransportError):
            return httpx.get(self.url).status_code == httpx.codes.OK
        return False

    def settled(self) -> Numbers:
        """Return the numbers when no request is in flight: a worker counts one after the client has its answer."""
        wait_until(lambda: self.numbers()[("kit_in_flight",)] == 0, "all is counted")
        return self.numbers()

    def numbers(self) -> Numbers:
        """Return each number by its name and the values of its labels."""
        samples = (sample for family in parse(httpx.get(self.url).raise_for_status().text) for sample in family.samples)
        return {(each.name, *(each.labels[label] for label in sorted(each.labels))): each.value for each in samples}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """METRICS_DIR."""
    (made := tmp_path / "metrics").mkdir()
    return made


@pytest.fixture
def exporter(folder: Path) -> Iterator[Exporter]:
    reads = Exporter(folder)
    yield reads
    reads.process.terminate()
    reads.process.wait()


@pytest.fixture
def serve(tmp_path: Path, folder: Path) -> Iterator[Serve]:
    """Return a function (*arguments, conf=, **settings) -> a gunicorn with two workers, which serves tests/metrics/shop.py."""

    def launch(*arguments: str, conf: Path = CONF, ready: bool = True, **settings: str) -> Gunicorn:
        defaults = {
            "APP_MODULE": "shop:app",
            "METRICS_DIR": str(folder),
            "PYTHONPATH": f"{Path(__file__).parent}:{ROOT}",
            "WEB_CONCURRENCY": "2",
        }
        return start({**defaults, **settings}, conf=conf, arguments=arguments, ready=ready)

    with starting(tmp_path) as start:
        yield launch
