"""The doctor looks at what runs too: each rule is asked of the containers as well as of the files."""

import ipaddress

import pytest

from tests.doctor.conftest import MakeKit
from tests.doctor.kits import ROOT, Report, doctor
from tests.surgery import docker
from tools.stack import Stack

# LIMITS=off is a warning, and the lab is on for this machine only.
SETTINGS = {"LIMITS": "off", "LAB_ENABLED": "1", "WEB_CONCURRENCY": "1"}
# The time includes the start of a stack, on a machine that is busy with others.
pytestmark = [pytest.mark.stack_env(**SETTINGS), pytest.mark.timeout(600), pytest.mark.runtimes("compose")]


def look(stack: Stack, project: str = str(ROOT)) -> Report:
    """Run the doctor on this repository and on the running stack."""
    return doctor("--project", project, "--json", env={**SETTINGS, "COMPOSE_PROJECT_NAME": stack.name})


def test_a_running_stack_agrees_and_is_asked_itself(stack: Stack) -> None:
    """What only it knows: the network that Docker chose, the limit that PostgreSQL has."""
    report = look(stack)

    rules = report.rules()
    assert report.code == 0
    assert {rule for rule, found in rules.items() if found["running"]["verdict"] in {"not checked", "BROKEN"}} == set()
    places = {value["name"]: value["origin"]["place"] for value in rules["database-connections"]["running"]["values"]}
    assert places["max_connections"] == "the running database"
    trusted = [ipaddress.ip_network(text) for text in rules["trusted-proxies"]["running"]["values"][-1]["shown"].split(", ")]
    assert [network for network in trusted if 8 < network.prefixlen < 32], "the network of Compose, whatever size the engine gives it"


def test_a_rule_that_is_broken_in_what_runs_alone_is_broken(stack: Stack) -> None:
    """Started with a keep-alive that is too short; the files are right by now."""
    stack.restart("app", {"GUNICORN_CMD_ARGS": "--keep-alive 1"})
    try:
        report = look(stack)
    finally:
        stack.restart("app", {})

    finding = report.rules()["upstream-keepalive"]
    assert (finding["files"]["verdict"], finding["running"]["verdict"]) == ("ok", "BROKEN")
    assert report.shown("upstream-keepalive", "running") == {"keepalive_timeout": "1 s", "keepalive": "1 s"}
    assert report.code == 1


def test_it_looks_at_the_rest_while_parts_do_not_run(stack: Stack) -> None:
    """That is when it is asked."""
    gateway, *apps = (unit.id for service in ("gateway", "app") for unit in stack.processes() if unit.service == service)
    try:
        docker("stop", gateway)
        without_gateway = look(stack).rules()
        docker("stop", *apps)
        without_app = look(stack).rules()
    finally:
        docker("start", *apps, gateway)
        stack.up(build=False)

    assert without_gateway["limits-on"]["running"]["says"] == "gateway does not run"
    assert without_gateway["database-connections"]["running"]["verdict"] == "ok"
    assert without_app["database-connections"]["running"]["verdict"] == "not checked"


def test_containers_of_another_folder_are_not_taken_for_these_files(stack: Stack, make_kit: MakeKit) -> None:
    """Two copies of the kit may have the same project name."""
    report = doctor("--project", str(make_kit().root), env={**SETTINGS, "COMPOSE_PROJECT_NAME": stack.name})

    said = " ".join(report.stdout.split())
    assert f"running: nothing (the containers of the project {stack.name} were started from {ROOT}" in said
