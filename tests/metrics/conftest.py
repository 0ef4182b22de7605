"""A gunicorn behind the real gateway, which tells the exporter of each request."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families as parse

from tests.clients import wait_until
from tests.gateways import Gateways
from tests.gunicorn_conf.process import CONF, Gunicorn, starting
from tests.nginx.gateway import Gateway
from tools.local.nginx import Edit
from tools.stack.machine import free_ports

ROOT = CONF.parent
Numbers = dict[tuple[str, ...], float]
Serve = Callable[..., Gunicorn]
Export = Callable[[], "Exporter"]
Front = Callable[..., Gateway]


class Exporter:
    """compose/metrics/exporter.py on a free port of loopback."""

    def __init__(self, place: Path) -> None:
        self.url, self.place = f"http://127.0.0.1:{(port := free_ports(1)[0])}/metrics", place
        env = {**os.environ, "METRICS_LINES": str(place), "PORT": str(port)}
        self.process = subprocess.Popen([sys.executable, ROOT / "compose/metrics/exporter.py"], env=env)
        wait_until(self.listens, "the exporter listens")

    def listens(self) -> bool:
        with suppress(httpx.TransportError):
            return httpx.get(self.url).status_code == httpx.codes.OK
        return False

    def send(self, line: bytes) -> None:
        with self.place.open("ab") as lines:
            lines.write(line + b"\n")

    def numbers(self) -> Numbers:
        """Return each number by its name and the values of its labels."""
        samples = (sample for family in parse(httpx.get(self.url).raise_for_status().text) for sample in family.samples)
        return {(each.name, *(each.labels[label] for label in sorted(each.labels))): each.value for each in samples}

    def counted(self, name: str, many: float) -> Numbers:
        """Return what a metric has by its labels, when it has so many in sum."""
        wait_until(lambda: sum(self.labelled(name).values()) >= many, lambda: f"{name}: {self.labelled(name)}")
        return self.labelled(name)

    def labelled(self, name: str) -> Numbers:
        return {labels[1:]: value for labels, value in self.numbers().items() if labels[0] == name and value}


@pytest.fixture
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the lines are: the gateway's container sees that folder, and has another user."""
    place = tmp_path_factory.getbasetemp() / f"{free_ports(1)[0]}.lines"
    place.touch()
    place.chmod(0o666)
    return place


@pytest.fixture
def export(place: Path) -> Iterator[Export]:
    with ExitStack() as exits:

        def start() -> Exporter:
            reads = Exporter(place)
            exits.callback(reads.process.wait)
            exits.callback(reads.process.kill)
            return reads

        yield start


@pytest.fixture
def exporter(export: Export) -> Exporter:
    return export()


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Return a function (*arguments, **settings) -> a gunicorn with two workers, which serves tests/metrics/shop.py."""

    def launch(*arguments: str, **settings: str) -> Gunicorn:
        defaults = {"APP_MODULE": "shop:app", "METRICS": "1", "PYTHONPATH": f"{Path(__file__).parent}:{ROOT}", "WEB_CONCURRENCY": "2"}
        return start({**defaults, **settings}, arguments=arguments)

    with starting(tmp_path) as start:
        yield launch


@pytest.fixture
def counting(place: Path) -> list[Edit]:
    """What compose/metrics.yaml mounts into the gateway."""
    lines = (ROOT / "compose/metrics/gateway.conf").read_text().replace("/run/metrics/lines", str(place))
    hidden = (ROOT / "compose/metrics/proxy-metrics.conf").read_text()
    return [Edit("conf.d/10-logging.conf", r"\Z", lines), Edit("snippets/proxy-waf.conf", r"\Z", hidden)]


@pytest.fixture
def front(start_gateway: Gateways, counting: list[Edit]) -> Front:
    """Return a function (gunicorn, **settings) -> a gateway that counts, in front of it."""
    return lambda gunicorn, **settings: start_gateway(f"127.0.0.1:{gunicorn.port}", settings, counting)
