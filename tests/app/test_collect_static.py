"""The static files of an application and of its packages, copied to where nginx looks for them."""

import os
import subprocess
import sys
from pathlib import Path
from subprocess import CompletedProcess

import pytest

SCRIPT = Path(__file__).parents[2] / "app" / "collect_static.py"
# An application of the kind that docs/eject.md describes, with blueprints as packages have them.
SITE = """
import os
from pathlib import Path

from flask import Blueprint, Flask
from flask_sqlalchemy import SQLAlchemy

extra = Path(__file__).parent.parent / "packages"


def create_app(name="", **settings):
    app = Flask(__name__)
    app.config["SQLALCHEMY_DATABASE_URI"] = os.environ["DATABASE_URL"]
    app.config["SECRET_KEY"] = Path(os.environ["SECRET_KEY_FILE"]).read_text()
    assert len(app.config["SECRET_KEY"]) > 32
    SQLAlchemy(app)
    builder = Blueprint("builder", __name__, url_prefix="/static", static_folder=extra / "builder", static_url_path="/builder")
    inner = Blueprint("inner", __name__, static_folder=extra / "inner" / "static")
    admin = Blueprint("admin", __name__, static_folder=extra / "admin" / "static")
    admin.register_blueprint(inner, url_prefix="/inner")
    app.register_blueprint(builder)
    app.register_blueprint(admin, url_prefix="/admin")
    app.register_blueprint(admin, url_prefix="/second", name="second")
    app.register_blueprint(Blueprint("assets", __name__, static_folder=extra / "assets", static_url_path="/assets"))
    app.register_blueprint(Blueprint("tongue", __name__, static_folder=extra / "assets", static_url_path="/<lang>/static"))
    app.register_blueprint(Blueprint("none", __name__, static_folder="none", static_url_path="/none/static"))
    return app


app = create_app()
not_flask = app.wsgi_app
"""
FILES = ["site_of/static/site.css", "site_of/static/builder/old.css", "packages/builder/builder.css", "packages/builder/old.css"]
FILES += ["packages/admin/static/deep/admin.js", "packages/inner/static/inner.js", "packages/assets/kept.js"]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name in FILES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "site_of" / "__init__.py").write_text(SITE)
    (tmp_path / "broken.py").write_text("import no_such_package\n")
    (tmp_path / "leaves.py").write_text("raise SystemExit(0)\n")
    return tmp_path


def collect(project: Path, module: str) -> CompletedProcess[str]:
    """Run it where the image is built: no setting is given there."""
    command = [sys.executable, str(SCRIPT), module, str(project / "out")]
    clean = {"PATH": os.environ["PATH"]}
    return subprocess.run(command, cwd=project, env=clean, capture_output=True, text=True, check=False)


def collected(project: Path) -> dict[str, str]:
    """Map each file that nginx has to the one that it was."""
    out = project / "out"
    return {str(path.relative_to(out)): path.read_text() for path in out.rglob("*") if path.is_file()}


@pytest.mark.parametrize("module", ["site_of:app", "site_of:create_app()", "site_of:create_app", "site_of:create_app('shop', debug=True)"])
def test_every_static_folder_is_copied_to_its_address(project: Path, module: str) -> None:
    done = collect(project, module)

    assert done.returncode == 0, done.stderr
    assert collected(project) == {
        "site.css": "site_of/static/site.css",
        "builder/builder.css": "packages/builder/builder.css",
        "builder/old.css": "packages/builder/old.css",  # Flask prefers the longer path, and so must this
        "_paths/admin/static/deep/admin.js": "packages/admin/static/deep/admin.js",
        "_paths/second/static/deep/admin.js": "packages/admin/static/deep/admin.js",
        "_paths/admin/inner/static/inner.js": "packages/inner/static/inner.js",
        "_paths/second/inner/static/inner.js": "packages/inner/static/inner.js",
    }


def test_what_nginx_would_not_look_for_is_named(project: Path) -> None:
    left = [line.split()[1] for line in collect(project, "site_of:app").stdout.splitlines() if "left to the application" in line]

    assert sorted(left) == ["/<lang>/static/", "/assets/"]


def test_what_it_copies_is_what_flask_serves(project: Path) -> None:
    """Each address of nginx, asked of the application itself."""
    assert collect(project, "site_of:app").returncode == 0
    ask = "import site_of, sys; print(site_of.app.test_client().get(sys.argv[1]).text)"
    settings = {"PATH": os.environ["PATH"], "DATABASE_URL": "sqlite://", "SECRET_KEY_FILE": str(SCRIPT)}
    for name, content in collected(project).items():
        path = name.removeprefix("_paths") if name.startswith("_paths") else f"/static/{name}"
        said = subprocess.run([sys.executable, "-c", ask, path], cwd=project, env=settings, capture_output=True, text=True, check=True)
        assert said.stdout.strip() == content


@pytest.mark.parametrize(
    ("module", "named"),
    [
        ("broken:app", "no_such_package"),
        ("absent:app", "absent"),
        ("site_of:nothing", "nothing"),
        ("site_of:not_flask", "wsgi_app"),
        ("leaves:app", "SystemExit(0)"),
        ("site_of", "site_of"),
    ],
)
def test_an_application_that_cannot_be_imported_ends_it_with_one_line(project: Path, module: str, named: str) -> None:
    done = collect(project, module)
    (line,) = done.stderr.splitlines()

    assert done.returncode == 1
    assert line.startswith(f"collect_static: {module}: ")
    assert named in line
    assert "right is a Flask application" in line
    assert collected(project) == {}
