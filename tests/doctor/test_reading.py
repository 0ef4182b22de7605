"""Where values come from: the lines that a person would edit; and what is printed."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.doctor.conftest import MakeKit
from tests.doctor.kits import ROOT, Kit
from tools.doctor import values
from tools.doctor.compose import Files
from tools.doctor.nginx import Nginx, from_dump, parse
from tools.doctor.rules import RULES
from tools.doctor.values import CannotRead, Origin, variable

WIDTH = 80


@pytest.mark.usefixtures("compose_plugin")
def test_every_line_that_is_named_holds_the_setting(make_kit: MakeKit) -> None:
    """On the kit's own files, for every value of every rule."""
    kit = make_kit(app=True)
    (kit.root / ".env").write_text("# a comment\n\nAPP_MEMORY=600m\nGUNICORN_CMD_ARGS=--graceful-timeout 25\n")

    named = 0
    for rule in kit.doctor("--json").rules().values():
        for value in rule["files"]["values"]:
            origin = value["origin"]
            if origin["line"] is None:
                continue
            line = (kit.root / origin["place"]).read_text().splitlines()[origin["line"] - 1]
            assert value["name"].split()[0] in line or (origin["note"] and origin["note"] in line), f"{value} is not in: {line}"
            named += 1
    assert named > 20  # otherwise nothing was compared


def test_a_dump_is_read_like_the_files_it_was_made_of(tmp_path: Path) -> None:
    dump = (
        "# configuration file /etc/nginx/nginx.conf:\nhttp {\n    include conf.d/*.conf;\n}\n"
        "# configuration file /etc/nginx/conf.d/a.conf:\nserver {\n    location / {\n        proxy_pass http://app;\n    }\n}\n"
    )

    (scope,) = Nginx(from_dump(dump, "box", tmp_path), {}).proxying()

    assert [block.name for block in scope.blocks] == ["", "http", "server", "location"]
    assert scope.here.all("proxy_pass")[0].origin == Origin("box:/etc/nginx/conf.d/a.conf", 3)


def test_an_empty_dump_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CannotRead, match="printed no configuration"):
        from_dump("", "box", tmp_path)


def test_what_nginx_knows_but_the_parser_does_not_passes(tmp_path: Path) -> None:
    """The parser's own table ends at nginx 1.23."""
    main = tmp_path / "nginx.conf"
    main.write_text("max_headers 100;\nupstream a { server app:8000 resolve; keepalive 32 local; }\nadd_header_inherit merge;\n")

    tree = parse(main, lambda path, line: Origin(path.name, line))

    assert [node.name for node in tree.children] == ["max_headers", "upstream", "add_header_inherit"]


COMPOSE = """\
x-shared: &shared
  read_only: true
  deploy: {resources: {limits: {memory: "${MEMORY:-1g}"}}}
services:
  app:
    <<: *shared
    environment:
      GIVEN: ${GIVEN:-1}
      PLAIN: text
"""


def files(folder: Path, dotenv: str = "") -> Files:
    (folder / "compose.yaml").write_text(COMPOSE)
    (folder / ".env").write_text(dotenv)
    return Files(folder)


@pytest.mark.parametrize(
    ("path", "origin"),
    [
        (("read_only",), Origin("compose.yaml", 2)),
        (("memory",), Origin("compose.yaml", 3, "MEMORY")),
        (("environment", "PLAIN"), Origin("compose.yaml", 9)),
        (("user",), Origin("compose.yaml", None, "not set")),
    ],
)
def test_a_line_of_a_compose_file_is_found_through_merged_blocks(tmp_path: Path, path: tuple[str, ...], origin: Origin) -> None:
    assert files(tmp_path).origin("app", *path) == origin


def test_a_value_given_in_dotenv_is_edited_there(tmp_path: Path) -> None:
    found = files(tmp_path, "# comment\nGIVEN=2\n\nOTHER=3\nMEMORY=\n")

    assert found.origin("app", "environment", "GIVEN") == Origin(".env", 2, "GIVEN")
    assert found.origin("app", "environment", "OTHER") == Origin(".env", 4, "OTHER")
    # Empty counts as not given, as `${MEMORY:-1g}` has it.
    assert found.origin("app", "memory").place == "compose.yaml"


@pytest.mark.usefixtures("compose_plugin")
def test_overlays_that_dotenv_names_count(make_kit: MakeKit) -> None:
    """As `docker compose` takes them."""
    kit = make_kit()
    (kit.root / ".env").write_text("COMPOSE_FILE=docker-compose.yml:compose/lab.yaml\n")

    assert kit.doctor("--json").rules()["lab-private"]["files"]["says"] == "the lab is on"


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("SECRET_KEY", "abc", "(not shown)"),
        ("DATABASE_URL", "postgresql://kit:abc@db/kit", "(not shown)"),
        ("DATABASE_URL", "postgresql://kit@db/kit", "postgresql://kit@db/kit"),
        ("SECRET_KEY_FILE", "/run/secrets/key", "/run/secrets/key"),
    ],
)
def test_a_secret_is_not_shown(name: str, value: str, shown: str) -> None:
    assert variable(name, value, Origin(".env")).shown == shown


@pytest.mark.parametrize(("text", "value"), [("8k", 8192), ("10M", 10485760), ("1g", 1073741824), ("512mb", 536870912), ("100", 100)])
def test_sizes(text: str, value: int) -> None:
    assert values.size_bytes(text) == value


@pytest.mark.parametrize(("text", "value"), [("35s", 35), ("1m30s", 90), ("1h 30m", 5400), ("500ms", 0.5), ("65", 65), ("1d", 86400)])
def test_durations(text: str, value: float) -> None:
    assert values.seconds(text) == value


@pytest.mark.parametrize("text", ["", "fast", "10 apples", "-5s"])
@pytest.mark.parametrize("read", [values.seconds, values.size_bytes])
def test_what_is_neither_a_size_nor_a_duration_is_refused(read: type, text: str) -> None:
    with pytest.raises(CannotRead, match="is not a"):
        read(text)


# --- What is printed --------------------------------------------------------------------------------------------------


@pytest.fixture
def broken_kit(make_kit: MakeKit) -> Kit:
    kit = make_kit()
    kit.edit("gunicorn.conf.py", r"(?m)^timeout = .*$", "timeout = 40")
    return kit


def test_the_text_says_what_json_says(broken_kit: Kit) -> None:
    text, rules = broken_kit.doctor().stdout, broken_kit.doctor("--json").rules()

    assert rules.keys() == RULES.keys()
    for name, rule in rules.items():
        assert f"\n{rule['verdict']:<13}{name}\n" in text
    assert "BROKEN       request-timeout\n" in text
    assert "edit: timeout in gunicorn.conf.py:" in text
    assert "edit: proxy_read_timeout in" in text
    assert text.splitlines()[-1].startswith("1 BROKEN, ")
    # Readable on a terminal of 80 columns, but for the path of the folder; without colours in a pipe.
    assert [line for line in text.splitlines()[1:] if len(line) > WIDTH] == []
    assert "\x1b" not in text


def test_help_names_the_exit_codes() -> None:
    done = subprocess.run([sys.executable, "-m", "tools.doctor", "--help"], cwd=ROOT, capture_output=True, text=True, check=True)

    assert "Exit code 0: nothing is wrong; 1: a rule is broken; 2:" in " ".join(done.stdout.split())
