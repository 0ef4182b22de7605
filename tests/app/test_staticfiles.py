"""Compiled static files: names that change with the content, and ready compressed copies."""

import gzip
import re
import shutil
import subprocess
import sys
from pathlib import Path

import brotli
import pytest
from flask.testing import FlaskClient

from tests.app.conftest import MakeApp
from tests.app.server import ROOT, environment

SOURCES = ROOT / "app/kit_app/static"
HASHED = re.compile(r'href="/static/(site-[0-9a-f]{32}\.css)"')


@pytest.fixture
def compiled(tmp_path: Path) -> Path:
    """A folder with the compiled files."""
    folder = shutil.copytree(SOURCES, tmp_path / "static")
    settings = environment(APP_ENV="development", STATIC_ROOT=str(folder), PYTHONPATH=str(ROOT / "app"))
    subprocess.run([sys.executable, "-m", "flask", "--app", "kit_app", "digest", "compile"], env=settings, check=True)
    return folder


def test_pages_link_to_the_hashed_name_and_it_is_there(compiled: Path, make_app: MakeApp) -> None:
    client = make_app(STATIC_ROOT=compiled).test_client()

    found = HASHED.search(client.get("/").text)

    assert found
    with client.get(f"/static/{found[1]}") as answer:
        assert answer.data == (SOURCES / "site.css").read_bytes()


def test_every_file_has_its_compressed_copies(compiled: Path) -> None:
    for path in compiled.glob("*-*.css"):
        source = path.read_bytes()
        assert gzip.decompress((compiled / f"{path.name}.gz").read_bytes()) == source
        assert brotli.decompress((compiled / f"{path.name}.br").read_bytes()) == source
    assert {"site.css", "icon.svg", "cache_manifest.json"} <= {path.name for path in compiled.iterdir()}


def test_in_development_names_are_plain(lite: FlaskClient) -> None:
    assert 'href="/static/site.css"' in lite.get("/").text
    with lite.get("/static/site.css") as answer:
        assert answer.status_code == 200


def test_a_folder_that_was_not_compiled_is_warned_about(make_app: MakeApp, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_app(STATIC_ROOT=tmp_path)

    assert "no cache_manifest.json" in capsys.readouterr().out
