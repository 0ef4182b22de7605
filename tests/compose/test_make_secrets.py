"""A secret that nobody gave is made once and kept; one that was given is taken; a bad one stops the start."""

import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from tests.compose.conftest import ROOT

Take = Callable[[str, Path], str]


@pytest.fixture
def secrets(load: Callable[[str], ModuleType]) -> ModuleType:
    return load("app/make_secrets.py")


@pytest.fixture
def take(load: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch) -> Take:
    """What the container runs from its stdin, beside make_secrets."""
    monkeypatch.syspath_prepend(ROOT / "app")
    return load("tools/stack/key_step.py").take  # type: ignore[no-any-return]


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
    assert made == {path.name: path.read_text() for path in root.glob("*/*_*") if path.read_text()}
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
    assert [path for path in root.glob("*/*_*") if path.read_text() and path.read_text() in said.out + said.err] == []


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


def test_a_rotation_accepts_a_key_before_it_signs_and_after(secrets: ModuleType, take: Take, root: Path) -> None:
    secrets.main(root)
    key, beside = root / "app" / "secret_key", root / "app" / "secret_key_fallbacks"
    first = key.read_text()
    assert beside.read_text() == ""

    take("accept", root)
    second = beside.read_text()
    assert key.read_text() == first != second

    take("sign", root)
    assert (key.read_text(), beside.read_text()) == (second, first)
    assert secrets.main(root) == 0
    assert (key.read_text(), beside.read_text()) == (second, first)

    take("forget", root)
    assert (key.read_text(), beside.read_text()) == (second, "")


def test_a_rotation_to_the_present_key_is_refused(secrets: ModuleType, take: Take, root: Path) -> None:
    (root / "given" / "secret_key").write_text("a key of sufficient length")
    secrets.main(root)

    with pytest.raises(SystemExit, match="right is a new one there"):
        take("accept", root)


def test_another_key_in_the_folder_leaves_the_old_one_accepted(secrets: ModuleType, root: Path) -> None:
    secrets.main(root)
    first = (root / "app" / "secret_key").read_text()
    (root / "given" / "secret_key").write_text("a key of sufficient length")
    secrets.main(root)

    assert (root / "app" / "secret_key_fallbacks").read_text() == first


def test_a_folder_that_nobody_else_may_enter_is_named(secrets: ModuleType, root: Path, command: Callable[[str], str]) -> None:
    """As a clone with umask 077 has it."""
    (root / "given").chmod(0o700)
    (root / "given").parent.chmod(0o755)
    call = f"import runpy, pathlib; runpy.run_path({secrets.__file__!r})['given'](pathlib.Path({str(root / 'given' / 'secret_key')!r}))"
    done = subprocess.run(
        [command("setpriv"), "--reuid=65534", "--clear-groups", sys.executable, "-c", call], capture_output=True, text=True, check=False
    )

    assert "secrets/secret_key: Permission denied; right would be `chmod 711 secrets`" in done.stderr
