"""gunicorn.conf.py and gunicorn_hooks/ in a real gunicorn."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.gunicorn_conf.process import CONF, HERE, Edited, Effective, Refusal, Start, copy_of_the_kit, run, starting


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Return a function (settings, conf=, arguments=) -> Gunicorn that answers, or with ready=False one that may not yet."""
    with starting(tmp_path) as launch:
        yield launch


@pytest.fixture
def edited(tmp_path: Path) -> Edited:
    """Return a function that makes a copy with more lines at the end of gunicorn.conf.py."""

    def edit(lines: str) -> Path:
        conf = copy_of_the_kit(tmp_path)
        conf.write_text(conf.read_text() + lines)
        return conf

    return edit


@pytest.fixture
def refusal(tmp_path: Path) -> Refusal:
    """Return a function (settings, *arguments) -> the one line with which gunicorn refuses to start."""

    def refuse(settings: Mapping[str, str], *arguments: str, absent: str = "") -> str:
        # What is in `absent` runs before everything else in that process.
        (tmp_path / "sitecustomize.py").write_text(absent)
        settings = {"PYTHONPATH": f"{tmp_path}:{HERE}", **settings}
        ended = run(["-m", "gunicorn", "--config", str(CONF), "--bind", "127.0.0.1:0", *arguments], settings)

        assert ended.returncode == 2, ended.stdout + ended.stderr
        (line,) = ended.stderr.strip().splitlines()
        return line.removeprefix("gunicorn.conf.py: ")

    return refuse


@pytest.fixture
def effective() -> Effective:
    """Return a function (settings, *arguments) -> {setting: value as text} as gunicorn itself prints them."""

    def ask(settings: Mapping[str, str] | None = None, *arguments: str) -> dict[str, str]:
        # The application is named here: what is asked is a setting, not whether the one in the settings exists.
        ended = run(["-m", "gunicorn", "--config", str(CONF), "--print-config", *arguments, "tiny_app:app"], settings or {})

        assert ended.returncode == 0, ended.stderr
        pairs = (line.partition("=") for line in ended.stdout.splitlines())
        return {name.strip(): value.strip() for name, _, value in pairs}

    return ask
