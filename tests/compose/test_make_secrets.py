"""A secret that nobody gave is made once and kept; one that was given is taken; a bad one stops the start."""

import stat
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture
def secrets(load: Callable[[str], ModuleType]) -> ModuleType:
    return load("app/make_secrets.py")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for folder in ("given", "app", "database"):
        (tmp_path / folder).mkdir()
    return tmp_path


def test_they_are_made_at_random_and_kept(secrets: ModuleType, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert secrets.main(root) == 0
    made = {path.name: path.read_text() for path in (root / "app" / "secret_key", root / "database" / "database_password")}
    assert secrets.main(root) == 0

    assert len(set(made.values())) == 2
    assert min(map(len, made.values())) >= 64
    assert made == {path.name: path.read_text() for path in root.glob("*/*_*")}
    assert capsys.readouterr().out.count("made at random") == 2
    assert not list(root.glob("*/.*"))


def test_they_are_readable_for_owner_and_group_alone(secrets: ModuleType, root: Path) -> None:
    secrets.main(root)

    assert {stat.S_IMODE(path.stat().st_mode) for path in root.glob("*/*_*")} == {0o440}


def test_one_that_is_given_is_taken_without_its_newline(secrets: ModuleType, root: Path) -> None:
    (root / "given" / "secret_key").write_text("a key of sufficient length\n")
    secrets.main(root)

    assert (root / "app" / "secret_key").read_text() == "a key of sufficient length"


def test_a_change_is_announced(secrets: ModuleType, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    secrets.main(root)
    (root / "given" / "database_password").write_text("another-password-0")
    capsys.readouterr()
    secrets.main(root)

    said = capsys.readouterr().out
    assert "database_password: CHANGED" in said
    assert "PostgreSQL keeps the old one" in said
    assert (root / "database" / "database_password").read_text() == "another-password-0"


def test_none_is_printed(secrets: ModuleType, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "given" / "secret_key").write_text("a key of sufficient length")
    secrets.main(root)

    said = capsys.readouterr()
    assert [path for path in root.glob("*/*_*") if path.read_text() in said.out + said.err] == []


@pytest.mark.parametrize("content", [b"", b"\n", b"short", b"two lines\nof some length", b"control \x07 character inside", b"\xff" * 40])
def test_one_that_cannot_be_used_stops_the_start(
    secrets: ModuleType, root: Path, capsys: pytest.CaptureFixture[str], content: bytes
) -> None:
    (root / "given" / "secret_key").write_bytes(content)

    assert secrets.main(root) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("secrets/secret_key: ")
    assert "right" in line
    assert not (root / "app" / "secret_key").exists()


def test_a_folder_that_is_missing_is_named(secrets: ModuleType, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "app").rmdir()

    assert secrets.main(root) == 1
    assert "No such file or directory" in capsys.readouterr().err
