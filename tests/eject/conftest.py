"""Projects that the kit is copied into."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from subprocess import CompletedProcess

import pytest

ROOT = Path(__file__).resolve().parents[2]
# An application with as little as possible: a page, a static file, no health route, no database, and no word about gunicorn.
SHOP = """
from flask import Flask, request

app = Flask(__name__)


@app.get("/")
def index() -> dict[str, object]:
    return {"client": request.remote_addr, "scheme": request.headers.get("X-Forwarded-Proto")}
"""


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """The folder of a project with the package `shop`."""
    folder = tmp_path / "my shop"
    (folder / "shop" / "static").mkdir(parents=True)
    (folder / "shop" / "__init__.py").write_text(SHOP)
    (folder / "shop" / "static" / "shop.css").write_text("body { margin: 0 }\n" * 100)
    (folder / "requirements.txt").write_text("flask\n")
    return folder


def eject(*arguments: str | Path, kit: Path = ROOT) -> CompletedProcess[str]:
    """Run the command with Python's standard library alone, as `make eject` does."""
    command = [sys.executable, "-I", kit / "tools" / "eject.py", *arguments]
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)


def copy_as_the_readme_says(number: int, project: Path) -> None:
    """Run one of the three commands of the README, for this project."""
    commands = re.findall(r"^    ((?:cp -r|make eject) .*?\.\./myservice/?.*?)(?: +#.*)?$", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert len(commands) == 3
    command = commands[number].replace("../myservice", shlex.quote(str(project))).replace("myservice:app", "shop:app")
    subprocess.run(["sh", "-ec", command], cwd=ROOT, check=True)


@pytest.fixture
def kit(tmp_path: Path) -> Path:
    """A copy of the kit that a test may change, as if it were a later version."""
    folder = tmp_path / "kit"
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    for name in filter(None, listed.split("\0")):
        if not name.startswith(("docs/", "tests/", "loadtest/")) and (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    return folder
