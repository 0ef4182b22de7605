"""A value of .env is the same for Docker Compose and for the local runtime, or it is refused by name."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tools.stack.env_file import read

SAME = [
    ("V=plain", "plain"),
    ("V = blanks around  ", "blanks around"),
    ("export V=exported", "exported"),
    ("V=", ""),
    ("V=''", ""),
    ("V=abc#def", "abc#def"),
    ("V=#def", "#def"),
    ("V=abc #def", "abc"),
    ("V='abc$def#ghi jkl'  # a comment", "abc$def#ghi jkl"),
    ("V='pa$$w\"rd'", 'pa$$w"rd'),
    ("V='${HOME}'", "${HOME}"),
    ("V='it\\'s'", "it's"),
    ("V='a\\nb'", "a\\nb"),
    ('V="a\\nb"', "a\nb"),
    ('V="say \\"hi\\"  # no comment"', 'say "hi"  # no comment'),
    ("V='two\nlines'", "two\nlines"),
    ("V=it's", "it's"),
    ("V=5$ or 50% of $-x", "5$ or 50% of $-x"),
    ("V=a\\b", "a\\b"),
    ("X=1\nV=${X}2", "12"),
    ('X=1\nV="${X}2"', "12"),
    ("V=${NOT_SET:-other}", "other"),
    ("X=\nV=${X:-other}", "other"),
    ("HOME=here\nV=${HOME}", "/home/of/somebody"),
    ("V=${NOT_SET}x", "x"),
    ("V=first\n# V=second\n\nV=third", "third"),
    ("V=--keep-alive 70 --bind '[::]:8000'", "--keep-alive 70 --bind '[::]:8000'"),
    ("V=windows\r", "windows"),
    ("\ufeffV=with a mark at the beginning", "with a mark at the beginning"),
]
# Refused here; what Compose makes of it is something else than most people expect.
REFUSED = [
    "V=abc$def#ghi jkl",
    'V="abc$def"',
    "V=$HOME",
    "V=abc$$def",
    'V="abc\\$def"',
    "V=abc\\$def",
    "V=${NOT_SET-other}",
    "V=${HOME:+other}",
    "V=${HOME",
    "V=${A:-${B}}",
    "V: value",
    "V='it''s'",
    "V='a'b",
    'V="a"b',
    "V='a\\\\b'",
    "V=abc\t#def",
    "V= #def",
    "V='no end",
]


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/of/somebody")
    for name in ("V", "X", "NOT_SET"):
        monkeypatch.delenv(name, raising=False)


def test_both_read_the_same(tmp_path: Path, command: Callable[[str], str]) -> None:
    for number, (text, _) in enumerate(SAME):
        (tmp_path / f"{number}.env").write_text(f"{text}\n", newline="")
    services = {f"s{number}": {"image": "none", "env_file": f"{number}.env"} for number in range(len(SAME))}
    (tmp_path / "docker-compose.yml").write_text(json.dumps({"services": services}))
    argv = [command("docker"), "compose", "config", "--format", "json"]
    answer = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    model = json.loads(answer.stdout)["services"]
    theirs = {text: model[f"s{number}"]["environment"]["V"].replace("$$", "$") for number, (text, _) in enumerate(SAME)}
    ours = {text: read(tmp_path / f"{number}.env")["V"].text for number, (text, _) in enumerate(SAME)}

    assert theirs == dict(SAME)
    assert ours == dict(SAME)


@pytest.mark.parametrize("text", REFUSED)
def test_what_differs_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / ".env").write_text(f"{text}\n")

    with pytest.raises(ValueError, match=r"^\.env, line 1: Docker Compose would read V otherwise; right is NAME=value"):
        read(tmp_path / ".env")


def test_the_line_is_named_and_the_value_is_not(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("# comment\nONE=1\n\nSECRET_KEY=pa$word\n")

    with pytest.raises(ValueError, match=r"^\.env, line 4: Docker Compose would read SECRET_KEY otherwise") as refused:
        read(tmp_path / ".env")
    assert "pa$" not in str(refused.value)


def test_no_file_sets_nothing(tmp_path: Path) -> None:
    assert read(tmp_path / ".env") == {}
