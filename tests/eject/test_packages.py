"""What the image installs: the locked packages, each by its hash, or nothing."""

import re
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.eject.conftest import ROOT

LISTS = ("app", "server")


def locked(name: str) -> dict[str, str]:
    text = (ROOT / f"requirements/{name}.txt").read_text()
    return dict(re.findall(r"^([a-z0-9-]+)(?:\[[a-z,]+\])?==(\S+)", text, re.MULTILINE))


def test_the_server_is_the_same_in_both_lists() -> None:
    assert locked("server").items() <= locked("app").items()


@pytest.mark.parametrize("name", LISTS)
def test_every_package_has_a_hash(name: str) -> None:
    """One is enough for pip to insist on all; without any it would take whatever the index gives."""
    entries = re.split(r"^(?=[a-z])", (ROOT / f"requirements/{name}.txt").read_text(), flags=re.MULTILINE)[1:]

    assert len(entries) == len(locked(name))
    assert [entry for entry in entries if "--hash=sha256:" not in entry] == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ((r"--hash=sha256:\w{64}", f"--hash=sha256:{'0' * 64}"), "DO NOT MATCH THE HASHES"),
        ((r"(python-json-logger==\S+)(?: \\\n +--hash=\S+)+", r"\1"), "--require-hashes mode"),
    ],
)
def test_another_package_fails_the_build(
    kit: Path, change: tuple[str, str], said: str, unavailable: Mapping[str, str], not_run: Callable[[str], None]
) -> None:
    if unavailable["compose"]:
        not_run(f"runtime compose: {unavailable['compose']}")
    path = kit / "requirements/server.txt"
    changed = re.sub(*change, path.read_text())
    assert changed != path.read_text()
    path.write_text(changed)
    argv = ["docker", "build", "--target", "build", "--file", "app/Dockerfile", "."]
    answer = subprocess.run(argv, cwd=kit, capture_output=True, text=True, check=False)

    assert answer.returncode
    assert said in answer.stderr
