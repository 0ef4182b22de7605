"""Documented: every setting, in .env.example with the default that it really has, or in the first lines of the overlay that reads it."""

import re
import runpy
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest

from tests.compose.conftest import ROOT, Ask, Read

TLS = ("compose/tls.yaml",)
HEALTH_CHECKS = ("compose/health-checks.yaml",)
ON_DISK = ("compose/uploads-on-disk.yaml", "compose/files.yaml")
LINES = (ROOT / ".env.example").read_text().splitlines()
DOCUMENTED = {match[1]: match[2] for line in LINES if (match := re.fullmatch(r"#?([A-Z0-9_]+)=(.*)", line))}

SETTING = ("10-defaults", "13-websockets", "15-timeouts-and-workers")
SETTINGS = "".join((ROOT / f"nginx/docker-entrypoint.d/{name}.envsh").read_text() for name in SETTING)
OF_GATEWAY = re.findall(r"(?m)^export ([A-Z0-9_]+)=\"\$\{", SETTINGS)
DEFAULTS = "nginx/docker-entrypoint.d/10-defaults.envsh"
# A sentence stands before it, or before the export above it.
EXPLAINED = [
    name
    for lines in re.findall(r"(?m)^# .*\n((?:export .*\n)+)", (ROOT / DEFAULTS).read_text())
    for name in re.findall(r"export (\w+)=", lines)
]
OF_WAF = set(re.findall(r"(?m)^export (WAF_\w+)=", (ROOT / "waf/docker-entrypoint.d/10-defaults.envsh").read_text()))


def commented(variants: Iterable[str]) -> set[str]:
    """The names in the comments of these files."""
    lines = "".join((ROOT / name).read_text() for name in variants)
    return set(re.findall(r"[A-Z0-9_]+", "".join(re.findall("(?m)^#.*$", lines))))


def test_everything_is_commented_out() -> None:
    """A copy of the file changes nothing."""
    assert [line for line in LINES if line and not line.startswith("#")] == []


def test_each_setting_has_its_sentence() -> None:
    alone = [
        line
        for before, line in zip(["", *LINES], LINES, strict=False)
        if re.match("#[A-Z0-9_]+=", line) and not (before.startswith("# ") or re.match("#[A-Z0-9_]+=", before))
    ]

    assert alone == []


@pytest.mark.parametrize("variants", [(), *((f"compose/{path.name}",) for path in sorted((ROOT / "compose").glob("*.yaml")))])
def test_every_variable_of_the_compose_file_is_documented(ask: Ask, variants: tuple[str, ...]) -> None:
    used = {line.split()[0] for line in ask("config", "--variables", variants=variants).stdout.splitlines()[1:]}

    assert used - DOCUMENTED.keys() - OF_WAF - commented((*variants, DEFAULTS)) - set(EXPLAINED) == set()


def test_every_setting_that_passes_from_a_shell_is_documented(read: Read) -> None:
    environments = [service.get("environment", {}) for service in read()["services"].values()]
    passed = {name for environment in environments for name, value in environment.items() if value is None}

    assert passed - DOCUMENTED.keys() - OF_WAF - commented((*TLS, DEFAULTS)) - set(EXPLAINED) == set()


def test_what_is_documented_is_used() -> None:
    sources = "".join(
        (ROOT / name).read_text()
        for name in (
            "docker-compose.yml",
            "compose/lab.yaml",
            "nginx/docker-entrypoint.d/10-defaults.envsh",
            "gunicorn.conf.py",
            "app/probe.py",
            "tools/stack/base.py",
        )
    )
    sources += (ROOT / "app/kit_app/settings.py").read_text().upper()

    assert [name for name in DOCUMENTED if name not in sources] == []


@pytest.mark.parametrize("variants", [(), TLS, HEALTH_CHECKS, ON_DISK])
def test_the_defaults_are_those_of_the_compose_file(read: Read, variants: tuple[str, ...]) -> None:
    # Those of gunicorn.conf.py and of the gateway stand there (below).
    others = ("GUNICORN_", "NGINX_", "WAF_", *OF_GATEWAY)
    given = {name: value for name, value in DOCUMENTED.items() if value and not name.startswith(others)}

    assert read(env=given, variants=variants) == read(variants=variants)


def test_the_defaults_of_the_gateway_are_those_of_its_image(tmp_path: Path) -> None:
    source = "".join(f". nginx/docker-entrypoint.d/{name}.envsh; " for name in SETTING)
    argv = ["sh", "-c", f'unset "$@"; NGINX_ENVSUBST_OUTPUT_DIR={tmp_path}; {source} env', "sh", *OF_GATEWAY]
    printed = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    defaults = dict(line.split("=", 1) for line in printed.splitlines() if "=" in line)
    documented = {name: value for name, value in DOCUMENTED.items() if name in OF_GATEWAY}

    assert {name: defaults[name] for name in documented} == documented


def test_the_defaults_of_gunicorn_are_those_of_its_file(monkeypatch: pytest.MonkeyPatch) -> None:
    gunicorn = {name: value for name, value in DOCUMENTED.items() if name.startswith("GUNICORN_") and value}
    for name in (*gunicorn, "FORWARDED_ALLOW_IPS", "WEB_CONCURRENCY"):
        monkeypatch.delenv(name, raising=False)
    conf: Mapping[str, object] = runpy.run_path(str(ROOT / "gunicorn.conf.py"))

    assert {name: str(conf[name.removeprefix("GUNICORN_").lower()]) for name in gunicorn} == gunicorn
