"""The STATIC_COMMAND that `make eject` writes: the project's own files, and those of packages where that part was asked for."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.eject.conftest import ROOT, SHOP, eject

# A package's blueprint with files of its own, as Flask-Admin has one.
PACKAGE = """
from flask import Blueprint

app.register_blueprint(Blueprint("panel", "shop", static_folder="panel", static_url_path="/panel/static"))
"""
OWN = {"shop.css", "shop.css.gz"}


@pytest.mark.parametrize(
    ("source", "parts", "expected", "said"),
    [
        (SHOP + PACKAGE, [], OWN, ""),
        (SHOP + PACKAGE, ["--with", "package-static"], OWN | {"_paths/panel/static/panel.js", "_paths/panel/static/panel.js.gz"}, ""),
        (SHOP + PACKAGE + "raise OSError('no database here')", ["--with", "package-static"], OWN, "no database here"),
    ],
)
def test_what_it_collects(shop: Path, source: str, parts: list[str], expected: set[str], said: str) -> None:
    (shop / "shop" / "__init__.py").write_text(source)
    (shop / "shop" / "panel").mkdir()
    (shop / "shop" / "panel" / "panel.js").write_text("1")
    (shop / "shop" / "panel" / "panel.js.gz").write_text("the package's own")
    assert eject(shop, "shop:app", *parts).returncode == 0
    (line,) = [line for line in (shop / ".env").read_text().splitlines() if line.startswith("STATIC_COMMAND=")]
    # The image's places, in this folder.
    static = shop / "static"
    static.mkdir()
    (shop / "collect_static.py").write_text((ROOT / "app/collect_static.py").read_text().replace("/srv/static", str(static)))
    command = line.partition("=")[2].replace("/srv/", '"$SRV"/')
    settings = {"PATH": os.environ["PATH"], "SRV": str(shop)}
    done = subprocess.run(["sh", "-ec", command], cwd=shop, env=settings, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert {str(path.relative_to(static)) for path in static.rglob("*") if path.is_file()} == expected
    assert said in done.stderr
    assert not done.stderr or said
