"""What is printed: readable in 80 columns, coloured on a terminal only, and the same facts as JSON."""

import os
import pty
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.doctor.conftest import MakeKit
from tests.doctor.kits import NGINX_VERSION, ROOT, Kit
from tools.doctor.rules import RULES

pytestmark = pytest.mark.usefixtures("compose_plugin")
WIDTH = 80


@pytest.fixture
def broken_kit(make_kit: MakeKit) -> Kit:
    kit = make_kit()
    kit.edit("gunicorn.conf.py", r"(?m)^timeout = .*$", "timeout = 40")
    return kit


def test_the_text_says_what_json_says(broken_kit: Kit) -> None:
    text, rules = broken_kit.doctor().stdout, broken_kit.doctor("--json").rules()

    assert set(rules) == {rule.id for rule in RULES}
    for name, rule in rules.items():
        assert f"\n{rule['verdict']:<13}{name}\n" in text
    assert "BROKEN       request-timeout\n" in text
    assert "edit: timeout in gunicorn.conf.py:" in text
    assert "edit: proxy_read_timeout in" in text
    assert text.splitlines()[-1].startswith("1 BROKEN, ")


def test_no_line_is_wider_than_a_terminal(broken_kit: Kit) -> None:
    """But for the path of the folder, which is as long as it is."""
    lines = broken_kit.doctor().stdout.splitlines()[1:]

    assert [line for line in lines if len(line) > WIDTH] == []


def test_no_colour_in_a_pipe(broken_kit: Kit) -> None:
    assert "\x1b" not in broken_kit.doctor().stdout


def test_colour_on_a_terminal(broken_kit: Kit) -> None:
    ours, theirs = pty.openpty()
    argv = [sys.executable, "-m", "tools.doctor", "--dir", str(broken_kit.root), "--runtime", "files"]
    with subprocess.Popen(argv, cwd=ROOT, env={**os.environ, "NGINX_VERSION": NGINX_VERSION}, stdout=theirs) as process:
        os.close(theirs)
        printed = b"".join(_until_closed(ours))
    os.close(ours)

    assert b"\x1b[31m\x1b[1mBROKEN" in printed
    assert process.returncode == 1


def _until_closed(terminal: int) -> Iterator[bytes]:
    try:
        while chunk := os.read(terminal, 65536):
            yield chunk
    except OSError:  # Linux: the other end was closed
        return


def test_help_names_the_exit_codes() -> None:
    done = subprocess.run([sys.executable, "-m", "tools.doctor", "--help"], cwd=ROOT, capture_output=True, text=True, check=True)

    assert "Exit code 0: nothing is broken; 1: a rule is broken; 2:" in " ".join(done.stdout.split())
