"""The kit copied into somebody else's project: Flask's own tutorial application, used through nginx under the ejected Compose file."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from subprocess import CompletedProcess

import httpx
import pytest

from tools.stack.machine import free_ports

ROOT = Path(__file__).resolve().parents[2]
MODULE = "flaskr:create_app()"
# What the page docs/eject.md tells the tutorial's user to say.
OPTIONS = ["--database", "none", "--writable", "instance", "--health-path", "/hello"]
OPTIONS += ["--migrate", "test -e instance/flaskr.sqlite || flask init-db"]


def eject(*arguments: str | Path) -> CompletedProcess[str]:
    command = [sys.executable, "-m", "tools.eject", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def tutorial(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tutorial, out of Flask's source distribution, with the edits that eject asks for."""
    folder = tmp_path_factory.mktemp("tutorial")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", "flask"]
    subprocess.run([*command, "--dest", str(folder), "flask==3.1.3"], check=True, capture_output=True)
    # Not by tarfile: Debian 12's Python 3.11.2 does not have its filters, and newer ones insist on them.
    subprocess.run(["tar", "-xzf", next(folder.glob("*.tar.gz")), "-C", folder], check=True)
    project = next(path for path in folder.glob("flask-*") if path.is_dir()) / "examples" / "tutorial"
    factory = project / "flaskr" / "__init__.py"
    text = factory.read_text()
    text = text.replace('SECRET_KEY="dev"', 'SECRET_KEY=open(os.environ["SECRET_KEY_FILE"]).read()')
    text = text.replace("import os\n", "import os\n\nfrom werkzeug.middleware.proxy_fix import ProxyFix\n", 1)
    text = text.replace("    return app\n", "    app.wsgi_app = ProxyFix(app.wsgi_app, x_for=1, x_proto=1, x_host=1)\n    return app\n")
    assert "ProxyFix(" in text
    assert "SECRET_KEY_FILE" in text
    factory.write_text(text)
    return project


@pytest.fixture(scope="module")
def ejected(tutorial: Path) -> Path:
    answer = eject(*OPTIONS, tutorial, MODULE)
    assert answer.returncode == 0, answer.stderr
    assert "SECRET_KEY_FILE" in answer.stdout
    return tutorial


@pytest.fixture(scope="module")
def site(ejected: Path, unavailable: Mapping[str, str], not_run: Callable[[str], None]) -> Iterator[str]:
    """The address of the tutorial under the ejected Compose file; plain Compose commands, nothing of this kit's code."""
    if unavailable["compose"]:
        not_run(f"runtime compose: {unavailable['compose']}")
    port = free_ports(1)[0]
    compose = ["docker", "compose", "-p", f"kit-ejected-{os.getpid()}"]
    settings = {**os.environ, "GATEWAY_PORT": str(port), "GATEWAY_IMAGE": "kit-ejected-gateway", "APP_IMAGE": "kit-ejected-app"}
    try:
        up = subprocess.run([*compose, "up", "--build", "--wait"], cwd=ejected, env=settings, capture_output=True, text=True, check=False)
        assert up.returncode == 0, up.stdout[-3000:] + up.stderr[-3000:]
        yield f"http://127.0.0.1:{port}"
    finally:
        subprocess.run([*compose, "down", "--volumes", "--rmi", "local"], cwd=ejected, env=settings, capture_output=True, check=False)


@pytest.mark.timeout(400)
def test_the_tutorial_is_used_through_nginx(site: str) -> None:
    with httpx.Client(base_url=site, follow_redirects=True, timeout=10) as visitor:
        account = {"username": "ana", "password": "correct horse"}
        assert visitor.post("/auth/register", data=account).url.path == "/auth/login"
        assert visitor.post("/auth/login", data=account).url.path == "/"
        # Every replica signs with the same key and sees the same database: else one of these would be sent to log in.
        for number in range(6):
            page = visitor.post("/create", data={"title": f"Post {number}", "body": "<b>text</b>"})
            assert page.url.path == "/"
            assert f"Post {number}" in page.text
        assert "&lt;b&gt;text" in page.text
        style = visitor.get("/static/style.css")
        assert style.status_code == 200
        assert style.headers["Content-Encoding"] == "gzip"
        assert "ETag" in style.headers
        assert visitor.get("/no-such-page").headers["X-Request-ID"]


@pytest.mark.timeout(400)
@pytest.mark.usefixtures("site")
def test_the_doctor_works_there(ejected: Path) -> None:
    answer = subprocess.run(["make", "doctor"], cwd=ejected, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert "Traceback" not in answer.stderr


def test_the_doctor_there_finds_a_contradiction(ejected: Path) -> None:
    (ejected / ".env").write_text("GUNICORN_TIMEOUT=60\n")
    try:
        answer = subprocess.run(["doctor/run", "--json"], cwd=ejected, capture_output=True, text=True, check=False)
    finally:
        (ejected / ".env").unlink()
    assert answer.returncode == 1, answer.stdout + answer.stderr
    assert "proxy_read_timeout" in answer.stdout


def test_nothing_of_the_sample_site_is_left(ejected: Path) -> None:
    said = [path for path in ejected.rglob("*") if path.is_file() and "doctor" not in path.parts]
    found = [str(path) for path in said if re.search(r"flask-kit|LAB_ENABLED|downstream", path.read_text(errors="replace"))]
    config = subprocess.run(["docker", "compose", "config", "--format", "json"], cwd=ejected, capture_output=True, text=True, check=True)

    assert found == []
    assert sorted(json.loads(config.stdout)["services"]) == ["app", "gateway", "migrate", "secrets"]


def test_with_postgres_the_stack_is_complete(tmp_path: Path) -> None:
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "__init__.py").write_text("")
    (tmp_path / "migrations").mkdir()
    (tmp_path / "requirements.txt").write_text("flask\n")
    (tmp_path / "Makefile").write_text("mine:\n")
    answer = eject(tmp_path, "shop:app")
    config = subprocess.run(["docker", "compose", "config", "--format", "json"], cwd=tmp_path, capture_output=True, text=True, check=False)

    assert answer.returncode == 0, answer.stderr
    assert (tmp_path / "Makefile").read_text() == "mine:\n"
    assert config.returncode == 0, config.stderr
    assert sorted(json.loads(config.stdout)["services"]) == ["app", "database", "gateway", "migrate", "secrets"]
    assert "--hash=" in (tmp_path / "deploy" / "requirements.txt").read_text()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["no-such-folder", "flaskr:app"], "no such folder"),
        ([".", "flaskr"], "package.module:app"),
        ([".", "shop:app"], "package or module shop"),
        ([".", "eject:app", "--health-path", "healthz"], "/healthz"),
        ([".", "eject:app", "--writable", "../outside"], "inside the project"),
        ([".", "eject:app"], "already in"),
    ],
)
def test_bad_input_is_refused_in_words(arguments: list[str], said: str) -> None:
    answer = eject(*arguments)
    assert answer.returncode == 2
    assert said in answer.stderr
    assert "Traceback" not in answer.stderr


def test_a_file_of_the_owner_is_not_overwritten(ejected: Path) -> None:
    mine = ejected / "gunicorn.conf.py"
    mine.write_text("# mine\n")
    answer = eject(*OPTIONS, ejected, MODULE)
    assert answer.returncode == 2
    assert "gunicorn.conf.py" in answer.stderr
    assert mine.read_text() == "# mine\n"
