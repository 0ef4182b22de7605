"""The negative twins: each checker finds what is wrong, so its silence means something."""

import json
from pathlib import Path

from playwright.sync_api import Browser

from tests.web import checkers

PAGE = '<!doctype html><html lang="en"><title>A page</title><main><h1>A page</h1>{}</main></html>'
WRONG = '<h3>Too deep</h3><time datetime="2026-12-01T10:00:00.123456Z">now</time><p style="color: #999; background: #fff">pale</p>'


def test_nu_finds_a_datetime_and_a_colour(tmp_path: Path) -> None:
    page, style = tmp_path / "page.html", tmp_path / "style.css"
    page.write_text(PAGE.format(WRONG))
    style.write_text("p { color: nonsense }")

    found = checkers.nu(page, style)

    assert any("datetime" in line for line in found)
    assert any("color" in line and line.startswith("style.css") for line in found)


def test_nu_is_silent_on_a_good_page(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text(PAGE.format("<p>Text.</p>"))

    assert checkers.nu(page) == []


def test_axe_finds_pale_text_and_a_wrong_heading(browser: Browser, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text(PAGE.format(WRONG))

    found = "\n".join(checkers.axe_in_all_looks(browser, page.as_uri()))

    assert found.count(": color-contrast: ") == len(checkers.WIDTHS) * len(checkers.SCHEMES)
    assert ": heading-order: " in found


def test_redocly_finds_what_the_document_lacks(tmp_path: Path) -> None:
    document = tmp_path / "openapi.json"
    document.write_text(
        json.dumps({"openapi": "3.1.0", "info": {"title": "t", "version": "1"}, "paths": {"/a": {"get": {"responses": {}}}}})
    )

    rules = {line.split(": ")[1] for line in checkers.redocly(document)}

    assert {"no-empty-servers", "security-defined", "info-license"} <= rules
