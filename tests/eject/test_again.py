"""Copying a second time: what changed in the kit comes, what was edited stays."""

from pathlib import Path

import pytest

from tests.eject.conftest import eject

EDITED, UNEDITED = "nginx/nginx.conf", "gunicorn.conf.py"


@pytest.fixture
def copied(shop: Path, kit: Path) -> Path:
    """The project with the kit in it, and a line of its own in one file."""
    first = eject(shop, "shop:app", kit=kit)
    assert first.returncode == 0, first.stderr
    with (shop / EDITED).open("a") as file:
        file.write("# mine\n")
    return shop


def change(path: Path) -> None:
    path.write_text(path.read_text() + "# newer\n")


def test_without_a_change_nothing_is_done(copied: Path, kit: Path) -> None:
    again = eject(copied, "shop:app", kit=kit)

    assert again.returncode == 0, again.stderr
    assert again.stdout.startswith("0 files were copied")
    assert (copied / EDITED).read_text().endswith("# mine\n")


def test_a_change_comes_and_is_shown(copied: Path, kit: Path) -> None:
    change(kit / UNEDITED)
    again = eject(copied, "shop:app", kit=kit)

    assert f"updated: {UNEDITED}\n" in again.stdout
    assert "+# newer\n" in again.stdout
    assert (copied / UNEDITED).read_bytes() == (kit / UNEDITED).read_bytes()


def test_an_edited_file_is_left_alone_and_the_change_is_shown(copied: Path, kit: Path) -> None:
    change(kit / EDITED)
    again = eject(copied, "shop:app", kit=kit)

    assert f"edited here, so left alone: {EDITED}\n" in again.stdout
    assert "-# mine\n+# newer\n" in again.stdout
    assert (copied / EDITED).read_text().endswith("# mine\n")


def test_it_is_overwritten_when_that_is_said(copied: Path, kit: Path) -> None:
    change(kit / EDITED)
    again = eject(copied, "shop:app", "--overwrite", EDITED, kit=kit)

    assert f"updated: {EDITED}\n" in again.stdout
    assert (copied / EDITED).read_bytes() == (kit / EDITED).read_bytes()


def test_a_deleted_file_does_not_come_back(copied: Path, kit: Path) -> None:
    (copied / "nginx" / "Dockerfile").unlink()
    eject(copied, "shop:app", kit=kit)

    assert not (copied / "nginx" / "Dockerfile").exists()


def test_a_file_that_left_the_kit_is_named_and_kept(copied: Path, kit: Path) -> None:
    (kit / "nginx/errors/page.json").unlink()
    again = eject(copied, "shop:app", kit=kit)

    assert "no longer in the kit, delete it unless it is yours by now: nginx/errors/page.json\n" in again.stdout
    assert (copied / "nginx/errors/page.json").is_file()


def test_the_settings_are_the_projects_own(copied: Path, kit: Path) -> None:
    (copied / ".env").write_text("APP_MODULE=other:app\n")
    eject(copied, "shop:app", kit=kit)

    assert (copied / ".env").read_text() == "APP_MODULE=other:app\n"


def test_an_env_that_knows_nothing_of_the_kit_is_left_alone_and_what_it_lacks_is_printed(shop: Path, kit: Path) -> None:
    (shop / ".env").write_text("FLASK_DEBUG=1\n")
    first = eject(shop, "shop:app", kit=kit)

    assert first.returncode == 0, first.stderr
    assert (shop / ".env").read_text() == "FLASK_DEBUG=1\n"
    assert "\nAPP_MODULE=shop:app\n" in first.stdout
    assert "right would be" in eject(shop, "nothing:app", kit=kit).stderr


def test_what_was_left_out_comes_when_it_is_named_and_is_not_lost_again(copied: Path, kit: Path) -> None:
    overlay, server = copied / "compose/tls.yaml", copied / "nginx/templates/tls/servers.conf.template"
    first = eject(copied, "shop:app", kit=kit)
    assert "Left out" in first.stdout
    assert not overlay.exists()
    assert not server.exists()
    second = eject(copied, "shop:app", "--with", "tls", kit=kit)
    assert f"Add to COMPOSE_FILE in {copied / '.env'}, compose/no-waf.yaml staying the last: compose/tls.yaml\n" in second.stdout
    change(kit / "compose/tls.yaml")
    again = eject(copied, "shop:app", kit=kit)

    assert "updated: compose/tls.yaml\n" in again.stdout
    assert "tls" not in again.stdout.partition("Left out")[2]
    assert server.is_file()


def test_a_waf_that_comes_later_is_used_when_the_overlay_is_gone(copied: Path, kit: Path) -> None:
    later = eject(copied, "shop:app", "--with", "waf", kit=kit)

    assert (copied / "waf/Dockerfile").is_file()
    assert f"Take compose/no-waf.yaml out of COMPOSE_FILE in {copied / '.env'}\n" in later.stdout
    assert not (copied / "waf/templates/site/websockets.conf.template").exists()  # it needs both parts
    eject(copied, "shop:app", "--with", "websockets", kit=kit)
    assert (copied / "waf/templates/site/websockets.conf.template").is_file()


def test_static_files_of_packages_that_come_later_need_a_word_in_env(copied: Path, kit: Path) -> None:
    later = eject(copied, "shop:app", "--with", "package-static", kit=kit)

    assert (copied / "app/collect_static.py").is_file()
    assert f"Begin STATIC_COMMAND in {copied / '.env'} with: python /srv/collect_static.py" in later.stdout


def test_the_new_env_uses_what_was_asked_for(shop: Path, kit: Path) -> None:
    assert eject(shop, "shop:app", "--with", "tls", "--with", "sqlite", kit=kit).returncode == 0

    assert "COMPOSE_FILE=docker-compose.yml:compose/tls.yaml:compose/sqlite.yaml:compose/no-waf.yaml\n" in (shop / ".env").read_text()
