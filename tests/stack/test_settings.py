"""Where settings come from."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tools.stack import StackError
from tools.stack.base import check_forms, read_settings
from tools.stack.waiting import ready_path


def test_the_environment_beats_the_file_and_the_caller_beats_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".env").write_text('# a comment\nONE=file\nTWO=file\nTHREE="file \\"quoted\\""\nEMPTY=\n')
    for name in ("ONE", "THREE", "EMPTY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TWO", "environment")
    monkeypatch.setenv("FOUR", "environment")

    settings = read_settings(tmp_path, {"FOUR": "caller"})

    assert [settings[name] for name in ("ONE", "TWO", "THREE", "FOUR", "EMPTY")] == ["file", "environment", 'file "quoted"', "caller", ""]


def test_no_file_is_no_error(tmp_path: Path) -> None:
    assert read_settings(tmp_path, {"ONE": "1"})["ONE"] == "1"


@pytest.mark.parametrize(
    ("settings", "path"),
    [
        ({}, "/readyz"),
        ({"HEALTH_PATH": "/up"}, "/up"),
        ({"APP_MODULE": "shop:app"}, "/healthz"),
        ({"APP_MODULE": "shop:app", "URL_PREFIX": "/shop"}, "/shop/healthz"),
    ],
)
def test_only_the_sample_site_is_asked_whether_its_database_is_up(settings: dict[str, str], path: str) -> None:
    assert ready_path(settings) == path


RIGHT = [
    *[("GATEWAY_BIND", value) for value in ("", "[]", "[::]", "[::1]", "10.0.3.17")],
    *[("GATEWAY_PORT", value) for value in ("", "1", "65535")],
    *[("APP_CPUS", value) for value in ("", "0", "1", "0.5", ".5", "16.0")],
    *[("WAF_MEMORY", value) for value in ("", "0", "536870912", "512m", "1g", "1.5G", "600MB", "900000k")],
    *[("APP_REPLICAS", "12"), ("WAF_REPLICAS", "0"), ("DATABASE_MAX_CONNECTIONS", "500")],
]
WRONG = [
    *[("GATEWAY_BIND", value) for value in ("::1", "localhost", "999.1.1.1", "[10.0.0.1]", "10.0.0.0/8", "[", "127.0.0.1:80")],
    *[("GATEWAY_PORT", value) for value in ("0", "65536", "http", "80 81", "-1")],
    *[("GATEWAY_CPUS", value) for value in ("two", "-1", "1,5", "50%", "1.5 cores")],
    *[("DATABASE_MEMORY", value) for value in ("lots", "-1g", "1 g b", "50%", "m")],
    *[("APP_REPLICAS", value) for value in ("0", "three", "1.5", "-1")],
    *[("WAF_REPLICAS", "off"), ("DATABASE_MAX_CONNECTIONS", "0"), ("GATEWAY_TLS_PORT", "https")],
]


@pytest.mark.parametrize(("name", "value"), RIGHT)
def test_what_docker_compose_takes_is_taken(name: str, value: str, command: Callable[[str], str]) -> None:
    check_forms({name: value})
    argv = [command("docker"), "compose", "config", "--quiet"]
    assert subprocess.run(argv, cwd=ROOT, env={**os.environ, name: value}, check=False).returncode == 0


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_what_it_cannot_use_is_named_with_what_would_be_right(name: str, value: str) -> None:
    with pytest.raises(StackError, match=f"^{name}='.*' is (not a|no address)") as refused:
        check_forms({name: value})
    assert refused.value.exit_code == 2
