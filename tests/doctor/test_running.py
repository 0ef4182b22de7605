"""The doctor looks at what runs too, in both runtimes, and says when that is not what the files say."""

import ipaddress
from collections.abc import Callable, Iterator, Mapping

import pytest

from tests.conftest import StackFactory
from tests.doctor.conftest import MakeKit
from tests.doctor.kits import ROOT, Kit, Report, doctor
from tools.stack import Stack, open_stack
from tools.stack.machine import free_ports

# Shared with other tests; LIMITS=off is a warning, and the lab is on for this machine only.
SETTINGS = {"LIMITS": "off", "LAB_ENABLED": "1", "WEB_CONCURRENCY": "1"}
# The time includes the start of a stack, on a machine that is busy with others.
pytestmark = [pytest.mark.stack_env(**SETTINGS), pytest.mark.timeout(600)]


def look(stack: Stack, settings: Mapping[str, str] = SETTINGS) -> Report:
    """Run the doctor on this repository and on the running stack."""
    arguments = ("--dir", str(ROOT), "--runtime", stack.runtime, "--project", stack.name, "--json")
    return doctor(*arguments, env=settings)


def test_a_running_stack_agrees_with_its_files(stack: Stack) -> None:
    report = look(stack)

    rules = report.rules()
    assert report.with_verdict("BROKEN") == set()
    assert report.code == 0
    assert {"running-nginx", "running-gunicorn"} <= report.with_verdict("ok")
    assert rules["request-timeout"]["running"]["verdict"] == "ok"
    assert rules["body-size"]["running"]["verdict"] == "ok"


@pytest.mark.runtimes("compose")
def test_containers_and_the_database_are_asked_themselves(stack: Stack) -> None:
    """What only they know: the network that Docker chose, the limit that PostgreSQL has, the version of nginx."""
    report = look(stack)

    rules = report.rules()
    places = {value["name"]: value["place"] for value in rules["database-connections"]["running"]["values"]}
    assert places["max_connections"] == "the running database"
    network = ipaddress.ip_network(rules["forwarded-allow-ips"]["running"]["values"][0]["shown"])
    assert 8 < network.prefixlen < 32, "the network of Compose, whatever size the engine gives it"
    assert {"running-containers", "read-only", "capabilities", "user", "temp-files"} <= report.with_verdict("ok")
    assert "-gateway-1" in rules["nginx-version"]["running"]["values"][0]["place"]


def test_a_stack_that_was_started_with_other_settings_is_said(stack: Stack) -> None:
    """The files and settings of now against what was there at the start."""
    now = {**SETTINGS, "GUNICORN_CMD_ARGS": "--keep-alive 70", "MAX_CONTENT_LENGTH": "1048576", "APP_MEMORY": "400m"}

    report = look(stack, now)

    different = {"running-nginx", "running-gunicorn"} | ({"running-containers"} if stack.runtime == "compose" else set())
    assert report.with_verdict("BROKEN") == different
    assert report.code == 1
    rules = report.rules()
    assert {"70 s", "65 s"} <= {value["shown"] for value in rules["running-gunicorn"]["files"]["values"]}
    assert {"1048576", "10485760"} <= {value["shown"] for value in rules["running-nginx"]["files"]["values"]}


@pytest.mark.runtimes("compose")
def test_a_rule_that_is_broken_in_what_runs_alone_is_broken(stack_factory: StackFactory) -> None:
    """Started with a keep-alive that is too short; the files are right by now."""
    stack = stack_factory({**SETTINGS, "GUNICORN_CMD_ARGS": "--keep-alive 1"})

    report = look(stack)

    finding = report.rules()["upstream-keepalive"]
    assert (finding["files"]["verdict"], finding["running"]["verdict"]) == ("ok", "BROKEN")
    assert report.shown("upstream-keepalive", "running") == {"keepalive_timeout": "1 s", "keepalive": "1 s"}
    assert report.code == 1


@pytest.mark.runtimes("compose")
def test_containers_of_another_folder_are_not_taken_for_these_files(stack: Stack, make_kit: MakeKit) -> None:
    """Two copies of the kit may have the same project name."""
    kit = make_kit()

    report = doctor("--dir", str(kit.root), "--project", stack.name, env=SETTINGS)

    text = " ".join(report.stdout.split())
    assert f"running: nothing (the containers of the project {stack.name} were started from {ROOT}" in text


@pytest.fixture
def own_stack(make_kit: MakeKit, unavailable: Mapping[str, str], not_run: Callable[[str], None]) -> Iterator[tuple[Kit, Stack]]:
    """A local stack that runs from a copy of the kit, whose files may be edited."""
    if unavailable["local"]:
        not_run(f"runtime local: {unavailable['local']}")
    kit = make_kit(app=True)
    stack = open_stack("local", name="own", root=kit.root, env={"GATEWAY_PORT": str(free_ports(1)[0])})
    stack.up()
    yield kit, stack
    stack.down(volumes=True)


def test_files_that_were_edited_after_the_start_are_said(own_stack: tuple[Kit, Stack]) -> None:
    kit, stack = own_stack
    arguments = ("--dir", str(kit.root), "--runtime", "local", "--project", stack.name, "--json")
    assert doctor(*arguments, env={}).code == 0

    kit.edit("gunicorn.conf.py", r"(?m)^timeout = .*$", "timeout = 20")
    kit.edit("nginx/snippets/proxy-to-app.conf", r"proxy_read_timeout [^;]*;", "proxy_read_timeout 25s;")

    report = doctor(*arguments, env={})
    assert report.with_verdict("BROKEN") == {"running-gunicorn", "running-nginx"}
    assert "gunicorn.conf.py was edited after" in report.rules()["running-gunicorn"]["files"]["says"]
    assert report.shown("running-nginx")["proxy_read_timeout"] == "35s"
