"""Judges of what the kit shows, none of them ours: the Nu HTML checker, axe-core, Redocly and the models of the Gateway API.

`npm ci` in this folder installs them.

Each returns what it complains of, one line each; [] means that nothing is wrong. `lacking()` says what this machine has not got.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page

HERE = Path(__file__).resolve().parent
MODULES = HERE / "node_modules"
NU = MODULES / "vnu-jar/build/dist/vnu.jar"
AXE = MODULES / "axe-core/axe.min.js"
REDOCLY = MODULES / "@redocly/cli/bin/cli.js"
GATEWAY_API = MODULES / "@kubernetes-models/gateway-api"
# WCAG 2.2 A and AA, and what axe-core calls best practice.
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
INSTALL = "apt-get install default-jre-headless nodejs npm && npm ci --prefix tests/web"
WIDTHS = (390, 1280)
SCHEMES = ("light", "dark")


def lacking() -> str:
    """Say what the checkers need and this machine has not got, or ""."""
    programs = [program for program in ("java", "node") if not shutil.which(program)]
    packages = [path.relative_to(MODULES).parts[0] for path in (NU, AXE, REDOCLY, GATEWAY_API) if not path.exists()]
    return ", ".join([*programs, *packages])


def nu(*paths: Path) -> list[str]:
    """Check HTML, CSS and SVG files with the Nu HTML checker (the W3C's)."""
    command = ["java", "-jar", str(NU), "--format", "json", "--also-check-css", "--also-check-svg", *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    messages = json.loads(done.stderr)["messages"]
    return [f"{Path(found['url']).name}:{found.get('lastLine', '?')}: {found['message']}" for found in messages if found["type"] != "info"]


def axe(page: Page) -> list[str]:
    """Check an open page with axe-core."""
    # Evaluated by the debugger: a script element would be refused by the page's own policy.
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found: list[dict[str, Any]] = page.evaluate("rules => axe.run(document, {runOnly: rules}).then(result => result.violations)", RULES)
    return [f"{page.url}: {one['id']}: {one['help']}: {node['html'][:200]}" for one in found for node in one["nodes"]]


@contextmanager
def looks(browser: Browser, address: str = "about:blank") -> Iterator[list[Page]]:
    """Open `address` on a phone and a desktop, in light and in dark."""
    sizes = [(width, scheme) for width in WIDTHS for scheme in SCHEMES]
    contexts = [browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme) for width, scheme in sizes]  # type: ignore[arg-type]
    pages = [context.new_page() for context in contexts]
    for page in pages:
        page.goto(address)
    yield pages
    for context in contexts:
        context.close()


def axe_in_all_looks(browser: Browser, address: str) -> list[str]:
    """Check what is at `address` (a URL; a file's is Path.as_uri()) in all of them."""
    with looks(browser, address) as pages:
        return [line for page in pages for line in axe(page)]


def redocly(path: Path) -> list[str]:
    """Check an OpenAPI document with Redocly's recommended rules."""
    command = ["node", str(REDOCLY), "lint", "--extends", "recommended", "--format", "json", str(path)]
    env = {"PATH": os.environ["PATH"], "REDOCLY_TELEMETRY": "off"}
    done = subprocess.run(command, cwd=path.parent, env=env, capture_output=True, text=True, check=False)
    return [f"{found['severity']}: {found['ruleId']}: {found['message']}" for found in json.loads(done.stdout)["problems"]]


def gateway_api(manifests: Sequence[Mapping[str, Any]]) -> list[str]:
    """Check manifests of the Gateway API, strictly."""
    command = ["node", str(HERE / "gateway-api.mjs")]
    return subprocess.run(command, input=json.dumps(manifests), capture_output=True, text=True, check=True).stdout.splitlines()
