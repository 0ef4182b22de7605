"""A setting that is wrong stops the start, and the message names it."""

import re
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tools.stack import Stack, StackError, open_stack
from tools.stack.compose import CHECKS, ComposeStack
from tools.stack.machine import free_ports

ROOT = Path(__file__).resolve().parents[2]


def refusal(runtime: str, settings: Mapping[str, str], capfd: pytest.CaptureFixture[str]) -> str:
    """What a user reads who starts the stack with these settings; it must not start."""
    stack = open_stack(runtime, name=f"kit-bad-{runtime}", env={"GATEWAY_PORT": str(free_ports(1)[0]), **settings}, root=ROOT)
    try:
        with pytest.raises(StackError) as refused:
            stack.up(build=False)
    finally:
        stack.down(volumes=True)
    return f"{refused.value.message} {refused.value.hint} {refused.value.details} {''.join(capfd.readouterr())}"


@pytest.mark.runtimes("local")
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GUNICORN_TIMEOUT", "abc"),
        ("GUNICORN_TIMEOUTT", "30"),
        ("GUNICORN_WORKER_CLASS", "eventlet"),
        ("WEB_CONCURRENCY", "many"),
        ("LIMITS", "maybe"),
        ("MAX_CONTENT_LENGTH", "10m"),
        ("TRUSTED_PROXIES", "0.0.0.0/0"),
        ("SERVER_NAMES", "a;b"),
        ("DATABASE_POOL_SIZE", "abc"),
        ("LOG_FORMAT", "xml"),
        ("PRELOAD_LIBRARIES", "flask no_such_library"),
    ],
)
def test_a_wrong_setting_is_named(name: str, value: str, runtime: str, capfd: pytest.CaptureFixture[str]) -> None:
    said = refusal(runtime, {name: value}, capfd)

    assert name in said
    assert "Traceback" not in said


# One per place that refuses: gunicorn.conf.py, nginx/render, the application. What else they refuse, their own tests show.
@pytest.mark.runtimes("compose")
@pytest.mark.parametrize(("name", "value"), [("GUNICORN_TIMEOUT", "abc"), ("TRUSTED_PROXIES", "0.0.0.0/0"), ("DATABASE_POOL_SIZE", "abc")])
def test_a_wrong_setting_is_named_by_its_container(name: str, value: str, runtime: str, capfd: pytest.CaptureFixture[str]) -> None:
    said = refusal(runtime, {name: value}, capfd)

    assert name in said
    assert "Traceback" not in said


@pytest.mark.runtimes("compose")
@pytest.mark.parametrize(
    ("name", "value"), [("GUNICORN_TIMEOUT", "abc"), ("LIMITS", "maybe"), ("WAF_VALUES", "many"), ("MIGRATE_COMMAND", "no-such-command")]
)
def test_a_wrong_setting_leaves_what_runs(stack: Stack, name: str, value: str) -> None:
    before = stack.processes()

    with pytest.raises(StackError, match=r"does not accept its settings|the migration failed") as refused:
        changed(stack, name, value).up(build=False)

    assert value in refused.value.details
    assert refused.value.exit_code == 2
    assert stack.processes() == before


@pytest.fixture
def taken_port() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield str(server.getsockname()[1])


@pytest.mark.runtimes("compose")
@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("GATEWAY_BIND", "::1", "GATEWAY_BIND='::1' is no address"),
        ("GATEWAY_BIND", "192.0.2.1", "this machine has no address 192.0.2.1"),
        ("GATEWAY_BIND", "[2001:db8::1]", "this machine has no address 2001:db8::1"),
        ("GATEWAY_PORT", "eighty", "GATEWAY_PORT='eighty' is not a whole number from 1 to 65535"),
        ("GATEWAY_PORT", "", "port {taken} of 127.0.0.1 is taken by"),
        ("APP_REPLICAS", "three", "APP_REPLICAS='three' is not a whole number from 1"),
        ("APP_CPUS", "some", "APP_CPUS='some' is not a number of CPUs"),
        ("APP_CPUS", "9999", "app may not have 9999 CPUs: this machine has"),
        ("DATABASE_CPUS", "9999", "database may not have 9999 CPUs: this machine has"),
        ("DATABASE_MAX_CONNECTIONS", "many", "DATABASE_MAX_CONNECTIONS='many' is not a whole number"),
    ],
)
def test_what_compose_or_the_engine_would_refuse_too_late_is_named_first(
    stack: Stack, taken_port: str, name: str, value: str, said: str
) -> None:
    before = stack.processes()

    with pytest.raises(StackError, match=re.escape(said.format(taken=taken_port))):
        changed(stack, name, value or taken_port).up(build=False)

    assert stack.processes() == before


@pytest.mark.runtimes("compose")
def test_an_app_that_was_stopped_is_started_again(stack: Stack) -> None:
    """Its settings are read without the name that only a running one has."""
    assert isinstance(stack, ComposeStack)
    assert stack.compose("stop", "app").returncode == 0
    named = stack.compose("run", "--rm", "--no-deps", "--no-TTY", "app", *CHECKS["app"])

    stack.up(build=False)

    assert "GATEWAY_NETWORK_ALIAS" in named.stderr
    assert stack.replicas


@pytest.mark.runtimes("compose")
@pytest.mark.parametrize("service", ["app", "gateway"])
def test_compose_itself_takes_away_first(stack: Stack, taken_port: str, monkeypatch: pytest.MonkeyPatch, service: str) -> None:
    """The twin: nothing is asked before."""
    monkeypatch.setattr("tools.stack.compose.CHECKS", {})
    monkeypatch.setattr(ComposeStack, "_check_machine", lambda *_: None)
    before = [unit.id for unit in stack.processes() if unit.service == service]
    try:
        with pytest.raises(StackError, match="docker compose up failed"):
            changed(stack, *(("GATEWAY_PORT", taken_port) if service == "gateway" else ("GUNICORN_TIMEOUT", "abc"))).up(build=False)
        assert not set(before) & {unit.id for unit in stack.processes()}
    finally:
        stack.up(build=False)


def changed(stack: Stack, name: str, value: str) -> ComposeStack:
    """The same stack after an edit of its settings."""
    assert isinstance(stack, ComposeStack)
    return ComposeStack(stack.name, root=ROOT, settings={**stack.settings, name: value})
