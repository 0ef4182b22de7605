"""Where values come from: the lines of templates, Compose files, `.env` and gunicorn.conf.py that a person would edit."""

from pathlib import Path

import pytest

from tests.doctor.conftest import MakeKit
from tools.doctor import units
from tools.doctor.application import assigned_lines
from tools.doctor.compose import Sources
from tools.doctor.nginx import locate_dumped, locate_source, read_tree, unpack_dump
from tools.doctor.tree import proxied
from tools.doctor.values import CannotRead, Origin, variable


@pytest.mark.usefixtures("compose_plugin")
def test_every_line_that_is_named_holds_the_setting(make_kit: MakeKit) -> None:
    """On the kit's own files, for every value of every rule."""
    kit = make_kit(app=True)
    (kit.root / ".env").write_text("# a comment\n\nAPP_MEMORY=600m\nGUNICORN_BACKLOG=1024\n")

    named = 0
    for rule in kit.doctor("--json").rules().values():
        for value in rule["files"]["values"]:
            path = kit.root / value["place"]
            if value["line"] is None or value["note"] == "by nginx/render":
                continue
            line = path.read_text().splitlines()[value["line"] - 1]
            key = value["name"].rpartition(": ")[2].split()[0]
            assert key in line or value["note"] in line, f"{value} is not in: {line}"
            named += 1
    assert named > 30  # otherwise nothing was compared


def test_a_rendered_line_is_found_in_its_template(tmp_path: Path) -> None:
    """Lines that render makes out of one variable are many; what follows them is not shifted."""
    sources, rendered = tmp_path / "nginx", tmp_path / "conf"
    sources.mkdir()
    rendered.mkdir()
    (sources / "a.conf.template").write_text("# first\n${LINES}\nlimit ${SIZE};\nlast 1;\n")
    (rendered / "a.conf").write_text("# first\nx 1;\nx 2;\nx 3;\nlimit 5;\nlast 1;\n")

    tree = read_tree(rendered / "a.conf", locate=locate_source(rendered, sources, {"SIZE"}))

    assert [(node.name, node.origin.line, node.origin.note) for node in tree.children] == [
        ("x", 2, "by nginx/render"),
        ("x", 3, "SIZE"),
        ("x", 3, "SIZE"),
        ("limit", 3, "SIZE"),
        ("last", 4, ""),
    ]


def test_a_dump_is_read_like_the_files_it_was_made_of(tmp_path: Path) -> None:
    dump = (
        "# configuration file /run/nginx/nginx.conf:\nhttp {\n    include conf.d/*.conf;\n}\n"
        "# configuration file /run/nginx/conf.d/a.conf:\nserver {\n    location / {\n        proxy_pass http://app;\n    }\n}\n"
    )

    main = unpack_dump(dump, tmp_path)
    tree = read_tree(main, root=tmp_path, locate=locate_dumped(tmp_path, lambda path: f"box:{path}"))

    (scope,) = proxied(tree)
    assert [block.name for block in scope.blocks] == ["", "http", "server", "location"]
    assert scope.here.all("proxy_pass")[0].origin == Origin("box:/run/nginx/conf.d/a.conf", 3)


def test_what_nginx_itself_knows_but_the_parser_does_not_passes(tmp_path: Path) -> None:
    """The parser's own table ends at nginx 1.23."""
    main = tmp_path / "nginx.conf"
    main.write_text("max_headers 100;\nupstream a { server app:8000 resolve; keepalive 32 local; }\nadd_header_inherit merge;\n")

    tree = read_tree(main, locate=lambda path, line: Origin(path.name, line))

    assert [node.name for node in tree.children] == ["max_headers", "upstream", "add_header_inherit"]


def test_an_empty_dump_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CannotRead, match="printed no configuration"):
        unpack_dump("", tmp_path)


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


def sources(folder: Path, dotenv: str = "") -> Sources:
    (folder / "compose.yaml").write_text(COMPOSE)
    (folder / ".env").write_text(dotenv)
    return Sources(folder, [folder / "compose.yaml"])


@pytest.mark.parametrize(
    ("path", "origin"),
    [
        (("services", "app", "read_only"), Origin("compose.yaml", 2)),
        (("services", "app", "deploy", "resources", "limits", "memory"), Origin("compose.yaml", 3, "MEMORY")),
        (("services", "app", "environment", "PLAIN"), Origin("compose.yaml", 9)),
        (("services", "app", "user"), Origin("compose.yaml", 5, "not set")),
    ],
)
def test_a_line_of_a_compose_file_is_found_through_merged_blocks(tmp_path: Path, path: tuple[str, ...], origin: Origin) -> None:
    assert sources(tmp_path).origin(*path) == origin


def test_a_value_given_in_dotenv_is_edited_there(tmp_path: Path) -> None:
    found = sources(tmp_path, "# comment\nGIVEN=2\nOTHER=3\nMEMORY=\n")

    assert found.variable("app", "GIVEN") == Origin(".env", 2, "GIVEN")
    assert found.variable("app", "OTHER") == Origin(".env", 3)
    # Empty counts as not given, as `${MEMORY:-1g}` has it.
    assert found.origin("services", "app", "deploy", "resources", "limits", "memory").place == "compose.yaml"


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("SECRET_KEY", "abc", "(not shown)"),
        ("DATABASE_URL", "postgresql://kit:abc@db/kit", "(not shown)"),
        ("DATABASE_URL", "postgresql://kit@db/kit", "postgresql://kit@db/kit"),
        ("SECRET_KEY_FILE", "/run/secrets/key", "/run/secrets/key"),
        ("SECRET_KEY", "", "empty"),
    ],
)
def test_a_secret_is_not_shown(name: str, value: str, shown: str) -> None:
    assert variable(name, value, Origin(".env")).shown == shown


def test_the_last_assignment_of_a_python_file_counts() -> None:
    text = "a = 1\nif a:\n    b = 2\nelse:\n    b, c = 3, 4\n\n\ndef f():\n    a = 5\n\n\nd: int = 6\n"

    assert assigned_lines(text) == {"a": 1, "b": 5, "c": 5, "d": 12}


@pytest.mark.parametrize(("text", "value"), [("8k", 8192), ("10M", 10485760), ("1g", 1073741824), ("512mb", 536870912), ("100", 100)])
def test_sizes(text: str, value: int) -> None:
    assert units.size_bytes(text) == value


@pytest.mark.parametrize(("text", "value"), [("35s", 35), ("1m30s", 90), ("1h 30m", 5400), ("500ms", 0.5), ("65", 65), ("1d", 86400)])
def test_durations(text: str, value: float) -> None:
    assert units.seconds(text) == value


@pytest.mark.parametrize("text", ["", "fast", "10 apples", "-5s"])
def test_what_is_neither_a_size_nor_a_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a"):
        units.seconds(text)
    with pytest.raises(ValueError, match="is not a"):
        units.size_bytes(text)
