"""Fixtures for tests of the whole stack: real nginx, real gunicorn, in both runtimes where both can show it.

    @pytest.mark.stack_env(LAB_ENABLED="1", LIMITS="off")
    def test_a_fact(stack, client): ...

runs once for each runtime. Tests with the same settings share one stack, started by the first that needs it.
Where only the container is what people run in production (its nginx, its engine), a file says so with `runtimes("compose")`.
A runtime that this machine does not have is reported as not run, with the reason; with CI=true that is a failure.
"""

import hashlib
import os
import shutil
import signal
from collections import OrderedDict
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, sync_playwright
from xdist.remote import Producer  # type: ignore[import-untyped]  # it has no types
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

from tools.stack import Stack, StackError, open_stack
from tools.stack.base import read_settings
from tools.stack.choice import missing_for_compose
from tools.stack.machine import COMMANDS, find_command, free_ports

# The gateway alone, and with the WAF, for the tests of nginx, of TLS, of request smuggling and of the WAF.
pytest_plugins = ["tests.gateways", "tests.sites"]

ROOT = Path(__file__).resolve().parent.parent
RUNTIMES = ("local", "compose")
# Two cores carry this many idle stacks; the one that was not used for longest makes room for the next.
LIVE_STACKS = 2
# Of 127.0.0.1, for each of the processes that tests/run starts in CI: what one has chosen and not yet bound, no other may choose.
PORTS = {"gw0": (20000, 22000), "gw1": (24000, 26000), "gw2": (28000, 30000)}
# The end of a log is enough to see what went wrong; complete ones would bury the failure.
REPORT_LINES = 80
# Folders whose tests share no stack with others.
OWN_STACKS = {"rollout"}
# Folders that start stacks of their own in most of their other tests.
SLOW = {"eject", "loadtest", "stack", "swarm"}

MEASURED = "measured"

Key = tuple[str, tuple[tuple[str, str], ...], tuple[Path, ...]]
StackFactory = Callable[..., Stack]


@pytest.fixture(scope="session")
def not_run() -> Callable[[str], None]:
    """Return a function that ends the test as not run, with the reason."""
    return pytest.skip


def missing_for(runtime: str) -> str:
    """Say what this machine lacks for a runtime, or "" when nothing."""
    settings = read_settings(ROOT, None)
    wanted = settings.get("RUNTIME", "auto")
    if wanted not in {"auto", "", runtime}:
        return f"RUNTIME={wanted}"
    if runtime == "compose":
        return missing_for_compose(settings)
    missing = [command for command in COMMANDS if not find_command(command, settings)]
    return f"not installed: {', '.join(missing)}" if missing else ""


@pytest.fixture(scope="session")
def unavailable() -> Mapping[str, str]:
    """Map each runtime to what it lacks here ("": nothing)."""
    return {runtime: missing_for(runtime) for runtime in RUNTIMES}


def pytest_configure() -> None:
    """Take down the stacks after `kill` as after Ctrl-C; otherwise they would outlive the tests.

    Images get names of this clone, so that its tests replace neither those of a stack in use nor those of another clone.
    """
    clone = hashlib.sha256(os.fsencode(ROOT)).hexdigest()[:8]
    for service in ("app", "gateway", "health-checks", "locust", "pgbouncer", "prometheus", "waf"):
        os.environ.setdefault(f"{service.upper().replace('-', '_')}_IMAGE", f"flask-kit-{service}:test-{clone}")
    if worker := os.environ.get("PYTEST_XDIST_WORKER"):
        single, blocks = PORTS[worker]
        os.environ["KIT_PORTS"], os.environ["KIT_PORT_BLOCKS"] = (f"{first}-{first + 1999}" for first in (single, blocks))
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def pytest_report_header() -> list[str]:
    """Say which runtimes the tests of the stack will use, and why not both."""
    return [f"runtime {name}: {f'not run ({lack})' if (lack := missing_for(name)) else 'used'}" for name in RUNTIMES]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each test that uses `runtime` (or `stack`) once per runtime."""
    if "runtime" in metafunc.fixturenames:
        marker = metafunc.definition.get_closest_marker("runtimes")
        names = marker.args if marker else RUNTIMES
        metafunc.parametrize("runtime", names, indirect=True, scope="session")


class Groups(LoadScopeScheduling):  # type: ignore[misc]
    """Which tests run in one process when there are several (tests/run has them in CI).

    The stacks of one runtime are shared, so their tests stay together, in two halves: one whole would be at work long after
    everything else has ended. The others go by their folder.
    (The `loadgroup` of pytest-xdist 3.8.0 does nothing with pytest 9.2.)
    """

    def _split_scope(self, nodeid: str) -> str:
        folder = nodeid.split("/")[1]
        parameters = nodeid.partition("[")[2].rstrip("]").split("-")
        for runtime in RUNTIMES:
            if runtime in parameters and folder not in OWN_STACKS:
                return f"stacks {runtime} {'a to g' if folder < 'h' else 'h to z'}"
        return folder


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Groups:
    """Share the tests out by `Groups`."""
    return Groups(config, log)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put what takes longest first, so that no process is left with it at the end; and the tests of one stack after each other."""

    def rank(item: pytest.Item) -> int:
        call = getattr(item, "callspec", None)
        runtime = call.params.get("runtime") if call else None
        if runtime:
            return 1 - RUNTIMES.index(runtime)
        return 2 if item.nodeid.split("/")[1] in SLOW else 3

    def settings(item: pytest.Item) -> str:
        marker = item.get_closest_marker("stack_env")
        return str(sorted(marker.kwargs.items())) if marker else ""

    items.sort(key=lambda item: (rank(item), settings(item)))


@pytest.fixture(scope="session")
def runtime(request: pytest.FixtureRequest, unavailable: Mapping[str, str], not_run: Callable[[str], None]) -> str:
    """The runtime of this test: "local" or "compose"."""
    name: str = request.param
    if unavailable[name]:
        not_run(f"runtime {name}: {unavailable[name]}")
    return name


@pytest.fixture
def free_port() -> int:
    """A port of 127.0.0.1 that nothing uses."""
    return free_ports(1)[0]


class Stacks:
    """The stacks of this test session, started when first asked for."""

    def __init__(self) -> None:
        self._live: OrderedDict[Key, Stack] = OrderedDict()
        self._count = 0
        self._built: set[Path | None] = set()

    def get(self, runtime: str, env: Mapping[str, str] | None = None, overrides: Sequence[Path] = ()) -> Stack:
        """Return a running stack with these settings; it may have served other tests before.

        Whoever asks for settings gets one worker in each gunicorn besides: it starts sooner. Without any it is what ships.
        """
        env = {"WEB_CONCURRENCY": "1", **env} if env else {}
        key = (runtime, tuple(sorted(env.items())), tuple(overrides))
        if key not in self._live:
            while len(self._live) >= LIVE_STACKS:
                self._live.popitem(last=False)[1].down(volumes=True)
            self._live[key] = self._start(runtime, env, overrides)
        self._live.move_to_end(key)
        return self._live[key]

    def _start(self, runtime: str, env: Mapping[str, str], overrides: Sequence[Path]) -> Stack:
        self._count += 1
        name = f"kit-test-{os.getpid()}-{self._count}"
        settings = {"GATEWAY_PORT": str(free_ports(1)[0]), **env}
        stack = open_stack(runtime, name=name, env=settings, overrides=overrides, root=ROOT)
        try:
            # The images do not change while the tests run: the first stack builds them, and the first with an overlay that overlay's.
            images = {None, *overrides} if runtime == "compose" else set()
            stack.up(build=not images <= self._built)
        except StackError as error:
            stack.down(volumes=True)
            pytest.fail(f"{error.message}; {error.hint}\n{error.details}", pytrace=False)
        except BaseException:
            stack.down(volumes=True)
            raise
        self._built |= images
        return stack

    def close(self) -> None:
        """Take down everything that was started."""
        while self._live:
            self._live.popitem()[1].down(volumes=True)


@pytest.fixture(scope="session")
def stacks() -> Iterator[Stacks]:
    """All stacks of this session; they end with it."""
    stacks = Stacks()
    yield stacks
    stacks.close()


@pytest.fixture
def stack_factory(stacks: Stacks, runtime: str) -> StackFactory:
    """Return a function (env, overrides) -> running stack, for tests that need another than the marked one."""

    def start(env: Mapping[str, str] | None = None, overrides: Sequence[Path] = ()) -> Stack:
        return stacks.get(runtime, env, overrides)

    return start


@pytest.fixture
def stack(request: pytest.FixtureRequest, stack_factory: StackFactory) -> Stack:
    """A running stack with the settings of the marker `stack_env`."""
    marker = request.node.get_closest_marker("stack_env")
    return stack_factory(marker.kwargs if marker else None)


@pytest.fixture
def client(stack: Stack) -> Iterator[httpx.Client]:
    """An HTTP client of the stack's gateway; it retries nothing."""
    with httpx.Client(base_url=stack.url, timeout=10) as client:
        yield client


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Attach what the stack has to say to each failure: its logs and the configuration that nginx reads.

    In CI, where everything is there, a test that was left out is a failure too.
    """
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get("CI") == "true":
        report.outcome = "failed"
        report.longrepr = f"must not be left out in CI: {report.longreprtext}"
    arguments = getattr(item, "funcargs", {}).values()
    if report.failed:
        for stack in {id(value): value for value in arguments if hasattr(value, "nginx_config")}.values():
            report.sections.append((f"logs of {stack.name} ({stack.runtime})", _attempt(stack.logs)))
            report.sections.append((f"nginx -T of {stack.name}", _attempt(stack.nginx_config, limit=None)))
    return report


def _attempt(read: Callable[[], str], limit: int | None = REPORT_LINES) -> str:
    try:
        lines = read().splitlines()
    except StackError as error:
        return f"{error.message}\n{error.details}"
    return "\n".join(lines[-limit:] if limit else lines)


@pytest.fixture
def note(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Return a function that puts one line, a measured figure, into the summary of the run."""
    return lambda line: request.node.user_properties.append((MEASURED, line))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what was measured; figures that no test can insist on belong into the report all the same."""
    reports = [report for status in ("passed", "failed") for report in terminalreporter.getreports(status)]
    lines = [line for report in reports for name, line in report.user_properties if name == MEASURED and report.when == "call"]
    if lines:
        terminalreporter.section("measured")
        for line in lines:
            terminalreporter.line(line)


@pytest.fixture(scope="session")
def command(not_run: Callable[[str], None]) -> Callable[[str], str]:
    """Return a function that finds a program this test needs, or ends the test as not run."""

    def find(name: str) -> str:
        path = shutil.which(name)
        if path is None:
            not_run(f"{name} is not installed")
        return str(path)

    return find


@pytest.fixture(scope="module")
def chromium(command: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Browser]]:
    """Return a function that starts Debian's Chromium, without a sandbox (as root it has none) and without its calls home.

    `around`: a command that starts it in its turn.
    For one module only: while Playwright runs, it keeps an event loop in this thread, and nothing else can have one.
    """
    flags = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
    flags += ["--disable-component-update", "--disable-sync"]
    path = os.environ.get("CHROMIUM") or command("chromium")
    with sync_playwright() as playwright:

        def start(around: str = "") -> Browser:
            wrapper = tmp_path_factory.mktemp("chromium") / "chromium"
            wrapper.write_text(f'#!/bin/sh\nexec {around} {path} "$@"\n')
            wrapper.chmod(0o755)
            return playwright.chromium.launch(executable_path=wrapper, args=flags)

        yield start


@pytest.fixture(scope="module")
def browser(chromium: Callable[..., Browser]) -> Iterator[Browser]:
    browser = chromium()
    yield browser
    browser.close()
