"""The site, what any site can take of it, and the lab are apart: without the lab's folder the site runs, and none knows its server."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.app.server import ROOT, environment

# Says the status of the page, of a route of the lab, and whether gunicorn came along.
ASK = """
import sys
from kit_app import create_app
from kit_app.database import db
app = create_app()
with app.app_context():
    db.create_all()
client = app.test_client()
print(client.get("/").status_code, client.get("/lab/hello").status_code, "gunicorn" in sys.modules, "kit_lab" in sys.modules)
"""


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The application's folder as it is, to take something out of it."""
    return shutil.copytree(ROOT / "app", tmp_path / "app", ignore=shutil.ignore_patterns("__pycache__", "instance"))


def ask(folder: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    env = environment(DATABASE_URL=f"sqlite:///{folder}/site.db", PYTHONPATH=str(folder), **settings)
    return subprocess.run([sys.executable, "-c", ASK], env=env, cwd=folder, capture_output=True, text=True, check=False)


def test_the_site_runs_without_the_lab(copy: Path) -> None:
    shutil.rmtree(copy / "kit_lab")

    assert ask(copy).stdout.splitlines()[-1] == "200 404 False False"


def test_with_the_lab_it_needs_the_folder(copy: Path) -> None:
    assert ask(copy, LAB_ENABLED="1").stdout.splitlines()[-1] == "200 200 False True"

    shutil.rmtree(copy / "kit_lab")
    without = ask(copy, LAB_ENABLED="1")
    assert without.returncode == 4
    assert without.stderr == "LAB_ENABLED: there is no kit_lab here\n"


@pytest.mark.parametrize(
    ("room", "may"), [("kit_flask", set()), ("kit_app", {"kit_flask", "kit_lab"}), ("kit_lab", {"kit_app", "kit_flask"})]
)
def test_the_rooms_import_each_other_one_way(room: str, may: set[str]) -> None:
    imports = re.compile(r"^\s*(?:from|import) (kit_\w+)", re.MULTILINE)
    files = {path.name: set(imports.findall(path.read_text())) - {room} for path in (ROOT / "app" / room).rglob("*.py")}

    assert set().union(*files.values()) <= may
    assert [name for name, found in files.items() if room == "kit_app" and "kit_lab" in found] in ([], ["__init__.py"])
