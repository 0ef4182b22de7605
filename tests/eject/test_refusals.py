"""What is refused, with what would be right, before anything is written."""

from pathlib import Path

import pytest

from tests.eject.conftest import ROOT, SHOP, eject
from tools.eject import COPIED


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
    assert "requirements.txt" in answer.stderr


def test_a_project_without_a_list_of_packages(shop: Path) -> None:
    (shop / "requirements.txt").unlink()
    answer = eject(shop, "shop:app")

    assert answer.returncode
    assert "requirements.txt" in answer.stderr


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
    assert [name for name in COPIED if not (ROOT / name).exists()] == []
