"""Compiled static files: names that change with the content, and ready compressed copies."""

import gzip
import re
from pathlib import Path

import brotli
import pytest
from click.testing import CliRunner
from flask.testing import FlaskClient
from kit_app.staticfiles import SOURCES, main

from tests.app.conftest import MakeApp

HASHED = re.compile(r'href="/static/(site-[0-9a-f]{32}\.css)"')


@pytest.fixture
def compiled(tmp_path: Path) -> Path:
    """A folder with the compiled files."""
    done = CliRunner().invoke(main, [str(tmp_path / "static")])
    assert done.exit_code == 0, done.output
    return tmp_path / "static"


def test_pages_link_to_the_hashed_name_and_it_is_there(compiled: Path, make_app: MakeApp) -> None:
    client = make_app(STATIC_ROOT=compiled).test_client()

    found = HASHED.search(client.get("/").text)

    assert found
    with client.get(f"/static/{found[1]}") as answer:
        assert answer.data == (SOURCES / "site.css").read_bytes()


def test_every_file_has_its_compressed_copies(compiled: Path) -> None:
    names = {path.name for path in compiled.iterdir()}
    for path in compiled.glob("*-*.css"):
        source = path.read_bytes()
        assert gzip.decompress((compiled / f"{path.name}.gz").read_bytes()) == source
        assert brotli.decompress((compiled / f"{path.name}.br").read_bytes()) == source
    assert {"site.css", "icon.svg", "cache_manifest.json"} <= names


def test_compiling_again_changes_nothing(compiled: Path) -> None:
    before = {path.name for path in compiled.iterdir()}

    CliRunner().invoke(main, [str(compiled)])

    assert {path.name for path in compiled.iterdir()} == before


def test_in_development_names_are_plain(lite: FlaskClient) -> None:
    assert 'href="/static/site.css"' in lite.get("/").text
    with lite.get("/static/site.css") as answer:
        assert answer.status_code == 200


def test_a_folder_that_was_not_compiled_is_warned_about(make_app: MakeApp, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_app(STATIC_ROOT=tmp_path)

    assert "no cache_manifest.json" in capsys.readouterr().out


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    done = CliRunner().invoke(main, [str(tmp_path / "file" / "static")])

    assert done.exit_code == 1
    assert done.output.startswith("Error: cannot write to ")
