"""What is refused, with what would be right, before anything is written."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.eject.conftest import ROOT, SHOP, eject
from tools.eject import COPIED, WITH


@pytest.mark.parametrize(
    ("module", "said"),
    [
        ("shop", "right would be package.module:app"),
        ("shop:app($HOME)", "right would be"),
        ("cart:app", "the package or module cart"),
        ("shop.web:app", "no shop/web.py and no shop/web/__init__.py"),
        ("shop:aplication", "has no aplication"),
        ("shop:create_app", "right would be shop:create_app(config), with values in their place"),
        ("shop:create_app()", "right would be shop:create_app(config), with values in their place"),
        ("shop.broken:app", "broken.py, line 1: "),
    ],
)
def test_a_wrong_module(shop: Path, module: str, said: str) -> None:
    (shop / "shop" / "__init__.py").write_text(f"{SHOP}\n\ndef create_app(config, *, testing=False):\n    return app\n")
    (shop / "shop" / "broken.py").write_text("app = (")
    before = sorted(shop.rglob("*"))
    answer = eject(shop, module)

    assert answer.returncode
    assert said in answer.stderr
    assert "Traceback" not in answer.stderr
    assert sorted(shop.rglob("*")) == before


@pytest.mark.parametrize(
    ("source", "given", "written"),
    [
        ("def create_app(test_config=None): ...", "shop:create_app", "shop:create_app()"),
        ("def create_app(*, testing=False, **more): ...", "shop:create_app", "shop:create_app()"),
        ("def create_app(config): ...", "shop:create_app('prod')", "shop:create_app('prod')"),
        ("def application(environ, start_response): ...", "shop:application", "shop:application"),
        ("def application(*arguments): ...", "shop:application", "shop:application"),
        ("app = object()\ndef helper():\n    def app(): ...", "shop:app", "shop:app"),
        ("from .factory import create_app as app", "shop:app", "shop:app"),  # gunicorn_hooks/application.py finds out
        ("from .factory import *", "shop:app", "shop:app"),
        ("try:\n    app = 1\nexcept ImportError:\n    pass", "shop:app", "shop:app"),
    ],
)
def test_a_factory_gets_its_parentheses(shop: Path, source: str, given: str, written: str) -> None:
    (shop / "shop" / "__init__.py").write_text(source)
    answer = eject(shop, given)

    assert answer.returncode == 0, answer.stderr
    assert f"APP_MODULE={written}\n" in (shop / ".env").read_text()


def test_a_folder_that_is_no_project(tmp_path: Path) -> None:
    answer = eject(tmp_path / "nowhere", "shop:app")

    assert answer.returncode
    assert "the package or module shop" in answer.stderr


NO_LIST = "right would be a folder with requirements.txt, or with a pyproject.toml that has [project] dependencies"


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({}, NO_LIST),
        ({"Pipfile": "[packages]\nflask = '*'\n"}, NO_LIST),
        ({"pyproject.toml": "[tool.poetry.dependencies]\nflask = '*'\n"}, NO_LIST),
        ({"requirements.txt": "flask\n-r base.txt\n"}, "requirements.txt, line 2: -r base.txt: there is no such file"),
        ({"requirements.txt": "-r lists/base.txt\n", "lists/base.txt": ""}, "line 1: -r lists/base.txt: right is a .txt file beside"),
        ({"requirements.txt": "-r../base.txt\n", "../base.txt": ""}, "line 1: -r../base.txt: right is a .txt file beside"),
        ({"requirements.txt": "-c c.txt\n", "c.txt": "-e .\n"}, "c.txt, line 1: -e .: the image gets packages before sources"),
        ({"requirements.txt": "flask\n.\n"}, "line 2: .: the image gets packages before sources"),
        ({"requirements.txt": ".[web]\n"}, "line 1: .[web]: the image gets packages before sources"),
        ({"requirements.txt": "--editable=libs/mine\n"}, "the image gets packages before sources"),
        ({"requirements.txt": "vendor/mine-1.0-py3-none-any.whl\n"}, "the image gets packages before sources"),
        ({"requirements.txt": "mine @ file:///srv/mine\n"}, "the image gets packages before sources"),
        ({"requirements.txt": "mine @ git+https://example.org/mine.git@v1\n"}, "the image has no git"),
        ({"requirements.txt": "-e git+ssh://git@example.org/mine.git#egg=mine\n"}, "the image has no git"),
    ],
)
def test_packages_that_the_image_could_not_install(shop: Path, files: Mapping[str, str], said: str) -> None:
    (shop / "requirements.txt").unlink()
    for name, text in files.items():
        (shop / name).parent.mkdir(exist_ok=True)
        (shop / name).write_text(text)
    answer = eject(shop, "shop:app")

    assert answer.returncode
    assert said in answer.stderr
    assert not (shop / ".env").exists()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("requirements.txt", "flask>=3 ; python_version >= '3.11'  # a comment with ./path\n-r requirements/base.txt\n-c c.txt\n"),
        ("requirements.txt", "--index-url https://example.org/simple/\nmine @ https://example.org/mine-1.0.tar.gz\n"),
        ("requirements.txt", "flask==3.1.3 \\\n    --hash=sha256:0\n"),
        ("requirements.txt", "-r requirements.txt\nflask\n"),
        ("pyproject.toml", "[project]\nname = 'shop'\ndependencies = ['flask']\n"),
    ],
)
def test_packages_that_it_can_install(shop: Path, name: str, text: str) -> None:
    (shop / "requirements.txt").unlink()
    (shop / "requirements").mkdir()
    (shop / "requirements" / "base.txt").write_text("-r more.txt\n")
    (shop / "requirements" / "more.txt").write_bytes("flask\n".encode("utf-16"))  # as PowerShell writes it
    (shop / "c.txt").write_text("flask<4\n")
    (shop / name).write_text(text)
    answer = eject(shop, "shop:app")

    assert answer.returncode == 0, answer.stderr
    assert f"APP_REQUIREMENTS={name}\n" in (shop / ".env").read_text()


def test_a_file_of_the_projects_own_is_in_the_way(shop: Path) -> None:
    mine = shop / "gunicorn.conf.py"
    mine.write_text("workers = 1\n")
    refused = eject(shop, "shop:app")

    assert refused.returncode
    assert "gunicorn.conf.py" in refused.stderr
    assert "--overwrite FILE" in refused.stderr
    assert mine.read_text() == "workers = 1\n"
    assert not (shop / "docker-compose.yml").exists()
    assert eject(shop, "shop:app", "--overwrite", "gunicorn.conf.py").returncode == 0
    assert mine.read_text() != "workers = 1\n"


def test_a_file_that_the_kit_does_not_have(shop: Path) -> None:
    answer = eject(shop, "shop:app", "--overwrite", "nginx.conf")

    assert answer.returncode
    assert "not in the kit: nginx.conf" in answer.stderr


def test_the_kit_has_all_that_is_on_the_list() -> None:
    """A name that is not there would be left out without a word."""
    listed = [*COPIED, *(pattern for patterns in WITH.values() for pattern in patterns)]
    assert [pattern for pattern in listed if not list(ROOT.glob(pattern))] == []
    assert [name for name, patterns in WITH.items() if not patterns and not (ROOT / f"compose/{name}.yaml").exists()] == []
