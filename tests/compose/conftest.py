"""The Compose file as Compose itself reads it; no engine is needed for that."""

import importlib.util
import json
import os
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
Model = Mapping[str, Any]
Ask = Callable[..., "subprocess.CompletedProcess[str]"]
Read = Callable[..., Model]


@pytest.fixture
def ask(tmp_path: Path, command: Callable[[str], str], not_run: Callable[[str], None]) -> Ask:
    """Return a function (*arguments, env=, dotenv=, variants=) that runs `docker compose` on the file.

    The project folder is empty but for `dotenv`: neither this checkout's .env nor this shell's settings count.
    """
    docker = command("docker")
    if subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode:
        not_run("docker compose is not installed")

    def run(
        *arguments: str, env: Mapping[str, str] | None = None, dotenv: str = "", variants: tuple[str, ...] = ()
    ) -> "subprocess.CompletedProcess[str]":
        (tmp_path / ".env").write_text(dotenv)
        files = [part for name in ("docker-compose.yml", *variants) for part in ("--file", str(ROOT / name))]
        command = [docker, "compose", *files, "--project-directory", str(tmp_path), "--profile", "*", *arguments]
        settings = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), **(env or {})}
        return subprocess.run(command, capture_output=True, text=True, env=settings, check=False)

    return run


@pytest.fixture
def read(ask: Ask) -> Read:
    """Return a function (env=, dotenv=, variants=) -> the model that Compose makes of the file."""

    def model(**how: Any) -> Model:
        answer = ask("config", "--format", "json", **how)
        assert answer.returncode == 0, answer.stderr
        return json.loads(answer.stdout)  # type: ignore[no-any-return]

    return model


@pytest.fixture
def model(read: Read) -> Model:
    """The file with nothing set, and with the lab's services beside the others."""
    return read(variants=("compose/lab.yaml",))


@pytest.fixture
def services(model: Model) -> Mapping[str, Model]:
    """Its services by name."""
    return model["services"]  # type: ignore[no-any-return]


@pytest.fixture
def load() -> Callable[[str], ModuleType]:
    """Return a function that imports a file of the app image by its path under the root."""

    def load(path: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(Path(path).stem, ROOT / path)
        assert spec
        assert spec.loader
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load
