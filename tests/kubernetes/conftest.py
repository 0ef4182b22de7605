"""The manifests as kubectl renders them; no cluster is needed for that."""

import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
SMALL = "small/kustomization.yaml"
Render = Callable[..., str]
Manifests = list[Mapping[str, Any]]


@pytest.fixture(scope="session")
def render(tmp_path_factory: pytest.TempPathFactory, command: Callable[[str], str]) -> Render:
    """Return a function (overlay, *edits) -> YAML; an edit is (file, regular expression, replacement), in a copy."""
    kubectl = command("kubectl")

    def run(overlay: str, *edits: tuple[str, str, str]) -> str:
        folder = tmp_path_factory.mktemp("k") / "kubernetes"
        shutil.copytree(ROOT / "deploy/kubernetes", folder)
        shutil.copytree(ROOT / "tests/kubernetes/podman", folder / "podman")
        for size in ("small", "large"):
            (folder / size / "secrets.env").write_text("secret_key=0123456789abcdef\ndatabase_password=0123456789abcdef\n")
        for file, old, new in edits:
            text, count = re.subn(old, new, (folder / file).read_text())
            assert count, f"{old!r} matches nothing in {file}: adapt this test"
            (folder / file).write_text(text)
        done = subprocess.run([kubectl, "kustomize", str(folder / overlay)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.fixture(scope="session", params=["small", "large"])
def overlay(request: pytest.FixtureRequest) -> str:
    """Each of them."""
    return str(request.param)


@pytest.fixture(scope="session")
def text(render: Render, overlay: str) -> str:
    """One overlay, as it is."""
    return render(overlay)


@pytest.fixture(scope="session")
def manifests(text: str) -> Manifests:
    return parse(text)


def parse(text: str) -> Manifests:
    return [one for one in yaml.safe_load_all(text) if one]
