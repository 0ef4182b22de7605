"""Where settings come from."""

from pathlib import Path

import pytest

from tools.stack.base import read_settings
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
