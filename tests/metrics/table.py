"""Which alert fires when: `python -m tests.metrics.table [CASE ...]` writes docs/results/alerts.md. A bench of half an hour, not for CI.

A stack of its own with compose/metrics.yaml under load, one case after the other, and Prometheus says what fired. Each case begins with
an empty Prometheus and half a minute in which nothing is wrong. All times of rules.yml are divided by TIMES, or it would take a day.
"""

import os
import random
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx

from loadtest.measure.machine import fingerprint
from tests.clients import wait_until
from tests.conftest import ROOT
from tools.reliability.measure import faults, releases
from tools.stack import StackError, open_stack
from tools.stack.compose import ComposeStack, docker
from tools.stack.machine import free_ports

TIMES = 12
CALM_S, WELL_S = 30.0, 90.0
RESULT = ROOT / "docs/results/alerts.md"
UNITS = {"m": 60, "h": 3600}
PLAIN = (("GET", "/", 2), ("GET", "/api/entries?limit=5", 2), ("GET", "/healthz", 1), ("GET", "/lab/json", 5))


@dataclass(frozen=True)
class Case:
    """`before` belongs to no case: it is done before Prometheus is emptied. `act` is done again and again while the case is on.

    `loads`: requests besides, each so many times a second; `users`: so many at once, and how long each waits at most before the next.
    """

    title: str
    expected: set[str]
    before: Callable[[ComposeStack], object] = lambda _: None
    begin: Callable[[ComposeStack], object] = lambda _: None
    end: Callable[[ComposeStack], object] = lambda _: None
    act: Callable[[ComposeStack], object] = lambda _: None
    loads: tuple[tuple[str, str, float], ...] = ()
    users: tuple[str, int, float] = ("", 0, 0)
    patience_s: float = 40.0
    lasts_s: float = WELL_S  # at most, or until all that are expected fire
    tls: bool = False  # has a stack with compose/tls.yaml


def container(stack: ComposeStack, services: tuple[str, ...], *command: str) -> None:
    docker(*command, *(unit.id for service in services for unit in stack.units(service)))


def away(*services: str) -> dict[str, Any]:
    """Stop them; start them again at the end."""
    return {
        "begin": lambda stack: container(stack, services, "stop", "--time", "1"),
        "end": lambda stack: container(stack, services, "start"),
    }


def changed(when: str, service: str, **settings: str) -> dict[str, Any]:
    def change(stack: ComposeStack) -> None:
        with suppress(StackError):  # it is not healthy, which may be the case
            stack.restart(service, settings)

    return {when: change, "end": lambda stack: stack.restart(service, {})}


def kill_a_worker(stack: ComposeStack) -> None:
    with suppress(Exception):  # it may have none at this moment
        faults.FAULTS["kill-worker"].begin(stack)
    time.sleep(2)


# Connections that do nothing, until PostgreSQL has 93 of its 100.
TAKE_CONNECTIONS = """
import time
from kit_app import create_app
from kit_app.database import db
with create_app().app_context():
    engine = db.create_engine(db.engine.url, poolclass=db.NullPool, isolation_level="AUTOCOMMIT")
    held = [engine.connect()]
    while held[0].scalar(db.text("select count(*) from pg_stat_activity where datname is not null")) < 93:
        held.append(engine.connect())
    time.sleep(%d)
"""


def take_connections(stack: ComposeStack) -> None:
    docker("exec", "--detach", stack.units("app")[0].id, "python", "-c", TAKE_CONNECTIONS % WELL_S)


def certificate(days: int) -> Callable[[ComposeStack], None]:
    """Put a certificate into TLS_DIR, which the gateway takes up while it runs."""

    def put(stack: ComposeStack) -> None:
        make_certificate(Path(stack.settings["TLS_DIR"]), days)

    return put


def make_certificate(folder: Path, days: int) -> None:
    """A new one for the key that is there, which is made first."""
    key, new = folder / "privkey.pem", folder / "new.pem"
    asked = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    if not key.exists():
        subprocess.run(["openssl", "genrsa", "-out", key], check=True, capture_output=True)
    subprocess.run(["openssl", "req", "-x509", "-key", key, "-out", new, "-days", str(days), *asked], check=True, capture_output=True)
    key.chmod(0o644)
    new.rename(folder / "fullchain.pem")


FULL = faults.FAULTS["full-disk"]
CASES = {
    "calm": Case("nothing at all", set()),
    "load": Case("load test: 40 at once", set(), users=("/lab/json", 40, 0)),
    "rollout": Case("two rollouts", set(), begin=releases.releases(2, 2, 20)["rollout"].begin),
    "soak": Case(
        "soak: an hour, workers replaced after 100 requests",
        set(),
        **changed("before", "app", GUNICORN_CMD_ARGS="--max-requests 100"),
        lasts_s=3600 / TIMES,
    ),
    "gateway": Case("the gateway is away", {"SiteDown"}, **away("gateway")),
    "apps": Case("all app containers are away", {"SiteDown", "ErrorsFast"}, **away("app")),
    "database": Case("the database is away", {"NotReady", "ErrorsFast"}, **away("database")),
    # Until the new one listens there is none: 5xx.
    "waf": Case(
        "the only WAF is replaced by one that refuses every GET",
        {"WafRefusesEverything", "ErrorsFast"},
        **changed("begin", "waf", WAF_METHODS="POST"),
    ),
    # One of 125: more than the slow burn's 0.6 %, less than the fast one's 1.44 %, also in a window with one error more.
    "errors": Case(
        "0.8 % of requests get 503",
        {"ErrorsSlow"},
        **away("downstream"),
        loads=(("GET", "/lab/wait", 0.25), ("GET", "/healthz", 20)),
        lasts_s=240,
    ),
    "slow": Case("a fifth of requests take 1.5 s", {"AnswersSlow"}, loads=(("GET", "/lab/wait?ms=1500", 6),)),
    "queue": Case("twice as many slow requests as threads", {"QueueLong", "AnswersSlow"}, users=("/lab/wait?ms=2000", 64, 0)),
    "workers": Case("a worker is killed every 2 s", {"WorkersDie"}, act=kill_a_worker, users=("/lab/wait?ms=400", 16, 0)),
    # Some are refused, not all: the probes would be refused too, which is SiteDown, and right.
    "overload": Case(
        "now and then more at once than MAX_IN_FLIGHT",
        {"Overloaded", "ErrorsFast"},
        **changed("before", "gateway", MAX_IN_FLIGHT="8"),
        users=("/lab/wait?ms=500", 12, 1),
    ),
    "flood": Case(
        "a flood from one address",
        {"LimitsRefuse"},
        **changed("begin", "gateway", LIMITS="on", LIMIT_REQUESTS="10", LIMIT_BURST="10"),
        loads=(("GET", "/lab/json", 30),),
    ),
    "impatient": Case("clients wait for 0.3 s", {"ClientsGiveUp"}, loads=(("GET", "/lab/wait?ms=700", 4),), patience_s=0.3),
    "uploads": Case(
        "no room for uploads", {"UploadsRefused"}, begin=FULL.begin, end=FULL.end or FULL.begin, loads=(("POST", "/lab/upload", 0.2),)
    ),
    "exporter": Case("the exporter is away", {"NoMetrics"}, **away("metrics")),
    "connections": Case("93 of PostgreSQL's 100 connections are taken", {"DatabaseFull"}, begin=take_connections),
    "certificate": Case("a certificate of 13 days", {"CertificateEnds"}, begin=certificate(13), end=certificate(90), lasts_s=420, tls=True),
}


def quick(text: str) -> str:
    """Divide the times of rules.yml."""
    return re.sub(r"(?<=\[)(\d+)([mh])(?=\])|(?<=for: )(\d+)([mh])$", _quick, text, flags=re.MULTILINE)


def _quick(found: re.Match[str]) -> str:
    number, unit = found[1] or found[3], found[2] or found[4]
    return f"{int(number) * UNITS[unit] * 1000 // TIMES}ms"


@contextmanager
def running(*, tls: bool) -> Iterator[tuple[ComposeStack, str]]:
    """A stack, and the address of its Prometheus."""
    port, secure, prometheus = free_ports(3)
    with TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "rules.yml").write_text(quick((ROOT / "compose/metrics/rules.yml").read_text()))
        often = (ROOT / "compose/metrics/prometheus.yml").read_text()
        (folder / "prometheus.yml").write_text(re.sub(r"(interval|timeout): \d+s", r"\1: 2500ms", often))
        volumes = "".join(f"      - {folder}/{file}:/etc/metrics/{file}:ro\n" for file in ("rules.yml", "prometheus.yml"))
        history = "tmpfs: ['/tmp:size=1m,mode=1777', '/srv/prometheus:size=64m,uid=10102,mode=0700']\n    volumes: !override"
        limits = "deploy: {resources: {limits: {cpus: '1.0'}}}"
        (folder / "quick.yaml").write_text(f"services:\n  prometheus:\n    {limits}\n    {history}\n{volumes}")
        settings = {"APP_REPLICAS": "2", "GATEWAY_PORT": str(port), "LAB_ENABLED": "1", "LIMITS": "off", "PROMETHEUS_PORT": str(prometheus)}
        files = f"docker-compose.yml:compose/metrics.yaml:compose/metrics-database.yaml:{folder}/quick.yaml"
        if tls:
            (folder / "tls").mkdir()
            make_certificate(folder / "tls", 90)
            settings |= {"GATEWAY_TLS_PORT": str(secure), "TLS_DIR": f"{folder}/tls", "METRICS_SITE_URL": "https://gateway:8443"}
            files += ":compose/tls.yaml"
        stack = open_stack("compose", name="kit-alerts", env={**os.environ, **settings, "COMPOSE_FILE": files})
        assert isinstance(stack, ComposeStack)
        try:
            stack.up()
            yield stack, f"http://127.0.0.1:{prometheus}/api/v1"
        finally:
            stack.down(volumes=True)


def send(url: str, patience_s: float, method: str, path: str) -> None:
    body = b"x" * 500_000 if method == "POST" else None
    with suppress(httpx.TransportError):
        httpx.request(method, url + path, content=body, timeout=patience_s, headers={"Host": "localhost"}, verify=False)  # noqa: S501 - its own


@contextmanager
def loaded(url: str, case: Case) -> Iterator[None]:
    """Ten requests a second for what is there, and what the case asks for."""
    over = threading.Event()
    wanted = [*PLAIN, *case.loads]

    def every(pool: ThreadPoolExecutor, method: str, path: str, rate_per_s: float) -> None:
        patience_s = case.patience_s if path in {load[1] for load in case.loads} else 40.0
        while not over.wait(1 / rate_per_s):
            pool.submit(send, url, patience_s, method, path)

    def again(path: str, think_s: float) -> None:
        while not over.wait(random.uniform(0, think_s)):  # noqa: S311 - a load
            send(url, 40, "GET", path)

    path, count, think_s = case.users
    with ThreadPoolExecutor(64) as pool:
        threads = [threading.Thread(target=every, args=(pool, *one)) for one in wanted]
        threads += [threading.Thread(target=again, args=(path, think_s)) for _ in range(count)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            over.set()
            for thread in threads:
                thread.join()


def fired(prometheus: str) -> set[str]:
    answer = httpx.get(f"{prometheus}/query", params={"query": 'ALERTS{alertstate="firing"}'}).raise_for_status().json()
    return {each["metric"]["alertname"] for each in answer["data"]["result"]}


def scraped(prometheus: str) -> bool:
    with suppress(httpx.TransportError, ValueError, KeyError):
        query = {"query": "sum(rate(kit_request_seconds_count[25s])) > 0"}
        return bool(httpx.get(f"{prometheus}/query", params=query).json()["data"]["result"])
    return False


def watch(case: Case, stack: ComposeStack, prometheus: str) -> dict[str, float]:
    """Return what fired in a case, and how many seconds (of the rules' own) after its begin."""
    case.before(stack)
    container(stack, ("prometheus",), "restart", "--time", "1")
    seen: dict[str, float] = {}
    with loaded(stack.url, Case("", set())):
        wait_until(lambda: scraped(prometheus), "Prometheus scrapes")
        time.sleep(CALM_S)
    with loaded(stack.url, case):
        began = time.monotonic()
        over = threading.Event()

        def look() -> None:
            while not over.wait(1):
                for alert in fired(prometheus) - seen.keys():
                    seen[alert] = time.monotonic() - began

        looks = threading.Thread(target=look)
        looks.start()
        try:
            case.begin(stack)
            while time.monotonic() < began + case.lasts_s and not (case.expected and case.expected <= seen.keys()):
                case.act(stack)
                time.sleep(1)
        finally:
            over.set()
            looks.join()
            case.end(stack)
    return {alert: round(after_s * TIMES / 60, 1) for alert, after_s in seen.items()}


def main() -> None:
    names = sys.argv[1:] or list(CASES)
    say = partial(print, file=sys.stderr, flush=True)
    machine = fingerprint("compose")
    lines = [
        f"# Alerts in faults: {datetime.now(UTC):%Y-%m-%d}\n",
        f"{machine.cpus} cores of {machine.cpu_model}, shared with the load; load average {os.getloadavg()[0]:.1f} before.\n",
        f"    python -m tests.metrics.table {' '.join(sys.argv[1:])}".rstrip() + "\n",
        f"All times of `compose/metrics/rules.yml` divided by {TIMES}; each case in an empty Prometheus, after {CALM_S:g} quiet seconds.",
        "`after`: minutes of the rules' own time from the begin of the fault until the alert fires.\n",
        "| case | expected | fired, after | as expected |\n|---|---|---|---|",
    ]
    for tls in sorted({CASES[name].tls for name in names}):
        with running(tls=tls) as (stack, prometheus):
            for name, case in CASES.items():
                if name not in names or case.tls != tls:
                    continue
                say(f"{name}: {case.title} ...")
                seen = watch(case, stack, prometheus)
                when = ", ".join(f"{alert} {minutes:g}" for alert, minutes in seen.items()) or "none"
                kept = "yes" if seen.keys() == case.expected else "**no**"
                lines.append(f"| {case.title} | {', '.join(sorted(case.expected)) or 'none'} | {when} | {kept} |")
                say(lines[-1])
                RESULT.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
