"""gunicorn.conf.py in a real gunicorn, and as a module for what can be shown without one."""

import importlib.util
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType

import pytest

from tests.gunicorn_conf.process import CONF, READ_BY_CONF, Effective, Gunicorn, LoadConf, Refusal, Start, run


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Return a function (settings, conf=, arguments=) -> Gunicorn that answers, or with ready=False one that may not yet."""
    running: list[Gunicorn] = []

    def launch(
        settings: Mapping[str, str] | None = None, *, conf: Path = CONF, arguments: Sequence[str] = (), ready: bool = True
    ) -> Gunicorn:
        running.append(Gunicorn(tmp_path, conf, settings or {}, arguments))
        if ready:
            running[-1].wait_until_ready()
        return running[-1]

    yield launch
    for gunicorn in running:
        gunicorn.stop()


@pytest.fixture
def edited(tmp_path: Path) -> Callable[[str], Path]:
    """Return a function that makes a gunicorn.conf.py with more lines at its end."""

    def edit(lines: str) -> Path:
        conf = tmp_path / "gunicorn.conf.py"
        conf.write_text(CONF.read_text() + lines)
        return conf

    return edit


@pytest.fixture
def refusal() -> Refusal:
    """Return a function (settings, *arguments) -> the one line with which gunicorn refuses to start."""

    def refuse(settings: Mapping[str, str], *arguments: str) -> str:
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


@pytest.fixture
def conf(monkeypatch: pytest.MonkeyPatch) -> LoadConf:
    """Return a function (**settings) that reads gunicorn.conf.py as a module, with no other settings than these."""

    def load(**settings: str) -> ModuleType:
        for name in filter(lambda name: name.startswith(READ_BY_CONF), list(os.environ)):
            monkeypatch.delenv(name)
        for name in ("FORWARDED_ALLOW_IPS", "WORKER_CONCURRENCY"):
            monkeypatch.setenv(name, "")  # the file exports them; this way monkeypatch takes that back
        for name, value in settings.items():
            monkeypatch.setenv(name, value)
        spec = importlib.util.spec_from_file_location("gunicorn_conf", CONF)
        assert spec
        assert spec.loader
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load
