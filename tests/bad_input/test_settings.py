"""A setting that is wrong stops the start, and the message names it."""

from collections.abc import Mapping
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
def test_compose_itself_takes_away_first(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """The twin: nothing is asked before."""
    monkeypatch.setattr("tools.stack.compose.CHECKS", {})
    before = [unit.id for unit in stack.processes() if unit.service == "app"]
    try:
        with pytest.raises(StackError, match="docker compose up failed"):
            changed(stack, "GUNICORN_TIMEOUT", "abc").up(build=False)
        assert not set(before) & {unit.id for unit in stack.processes()}
    finally:
        stack.up(build=False)


def changed(stack: Stack, name: str, value: str) -> ComposeStack:
    """The same stack after an edit of its settings."""
    assert isinstance(stack, ComposeStack)
    return ComposeStack(stack.name, root=ROOT, settings={**stack.settings, name: value})
