"""The whole kit in somebody else's project: Flask's own tutorial application, used through nginx under plain Compose commands."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from subprocess import CompletedProcess

import httpx
import pytest

from tests.eject.conftest import ROOT, eject
from tools.stack.machine import free_ports

MODULE = "flaskr:create_app()"
# What docs/eject.md tells the tutorial's user to write into .env.
SETTINGS = {
    "HEALTH_PATH": "/hello",
    "MIGRATE_COMMAND": "test -e instance/flaskr.sqlite || exec flask init-db",
}


@pytest.fixture(scope="module")
def tutorial(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tutorial, out of Flask's source distribution, with the edits that docs/eject.md asks for, and the kit copied into it."""
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
    (project / "requirements.txt").write_text("flask\n")
    # What must not end in the image.
    (project / ".git").mkdir()
    (project / ".git" / "config").write_text("token")
    (project / "instance").mkdir()
    (project / "instance" / "flaskr.sqlite").write_text("old")
    answer = eject(project, MODULE, "--with", "sqlite")
    assert answer.returncode == 0, answer.stderr
    with (project / ".env").open("a") as file:
        file.writelines(f"{name}={value}\n" for name, value in {**SETTINGS, "COMPOSE_PROJECT_NAME": f"kit-tutorial-{os.getpid()}"}.items())
    return project


def compose(project: Path, *arguments: str, **settings: str) -> CompletedProcess[str]:
    """Run plain Compose, without the names that the other tests give their images."""
    environment = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), **settings}
    return subprocess.run(["docker", "compose", *arguments], cwd=project, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def site(tutorial: Path, unavailable: Mapping[str, str], not_run: Callable[[str], None]) -> Iterator[str]:
    """The address of the tutorial under the copied Compose file."""
    if unavailable["compose"]:
        not_run(f"runtime compose: {unavailable['compose']}")
    with (tutorial / ".env").open("a") as file:
        file.write(f"GATEWAY_PORT={(port := free_ports(1)[0])}\n")
    try:
        up = compose(tutorial, "up", "--build", "--wait")
        assert up.returncode == 0, up.stdout[-3000:] + up.stderr[-3000:] + compose(tutorial, "logs", "--tail", "30").stdout
        yield f"http://127.0.0.1:{port}"
    finally:
        compose(tutorial, "down", "--volumes", "--rmi", "all")


@pytest.mark.timeout(400)
def test_it_is_used_through_nginx(site: str) -> None:
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
def test_the_image_holds_the_application_and_nothing_else(tutorial: Path) -> None:
    listed = compose(tutorial, "run", "--rm", "--no-deps", "--entrypoint", "find", "migrate", "/srv/app", "-name", "*")
    found = {line.removeprefix("/srv/app/") for line in listed.stdout.splitlines()}

    assert "flaskr/__init__.py" in found
    assert {name for name in found if name.startswith((".git", ".env", "nginx", "secrets", "waf", "compose"))} == set()


@pytest.mark.timeout(400)
def test_the_doctor_is_run_from_the_kit(tutorial: Path, site: str) -> None:
    assert site
    argv = [sys.executable, "-m", "tools.doctor", "--project", str(tutorial)]
    fine = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    with (tutorial / ".env").open("a") as file:
        file.write("GUNICORN_CMD_ARGS='--timeout 60'\n")  # past GUNICORN_TIMEOUT, which nginx hears of too
    wrong = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)

    assert fine.returncode == 0, fine.stdout + fine.stderr
    assert wrong.returncode == 1, wrong.stdout + wrong.stderr
    assert "proxy_read_timeout" in wrong.stdout


@pytest.mark.parametrize("parts", [(), ("--with", "waf")])
def test_with_postgres_the_stack_is_complete(shop: Path, parts: tuple[str, ...]) -> None:
    copied = eject(shop, "shop:app", *parts)
    assert copied.returncode == 0
    config = compose(shop, "config", "--format", "json")

    assert config.returncode == 0, config.stderr
    model = json.loads(config.stdout)
    assert model["name"] == "my-shop"
    assert {"app", "database", "gateway", "migrate", "preflight"} <= model["services"].keys()
    assert ("waf" in model["services"]) == (shop / "waf").exists() == bool(parts)
    assert copied.stdout.splitlines()[-1].startswith("This copy has no web application firewall: ") != bool(parts)
    assert model["services"]["app"]["build"]["args"]["APP_REQUIREMENTS"] == "requirements.txt"
    assert "LAB_ENABLED" not in model["services"]["app"]["environment"]
