"""What nginx does by HTTP it does by uWSGI's protocol too: each proxy_ directive on the way to the app has its twin."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HERE = ROOT / "servers/uwsgi-pass"
BOTH = ["nginx/templates/upstream/app.conf.template", "nginx/conf.d/45-retries.conf"]
GATEWAY = ["nginx/templates/snippets/proxy.conf.template", "nginx/templates/20-slow-clients.conf.template"]
WAF = ["waf/snippets/proxy-to-app.conf", "waf/conf.d/20-gateway.conf"]
# There is none of proxy_redirect. The protocol knows no Connection and no Upgrade; the WAF passes Host on as it comes.
WITHOUT = re.compile(r"pass http://|redirect |temp_path |set_header (Connection|Upgrade) |set_header Host \$http_host$")


def twin(directive: str) -> str:
    """Return what stands for a proxy_ directive."""
    if not directive.startswith("set_header "):
        return f"uwsgi_{directive}"
    _, name, value = directive.split(" ", 2)
    return f"uwsgi_param HTTP_{name.upper().replace('-', '_')} {value}"


@pytest.mark.parametrize(("files", "ours"), [(GATEWAY, "gateway.conf.template"), (WAF, "waf.conf.template")])
def test_each_directive_has_its_twin(files: list[str], ours: str) -> None:
    by_http = [line for name in BOTH + files for line in re.findall(r"^\s*proxy_([^;]*);", (ROOT / name).read_text(), re.MULTILINE)]
    texts = [(HERE / name).read_text() for name in ("uwsgi.conf.template", ours)]
    by_uwsgi = {line.removesuffix(" if_not_empty") for text in texts for line in re.findall(r"^(uwsgi_[^;]*);", text, re.MULTILINE)}

    assert len(by_http) > 15
    assert {twin(line) for line in by_http if not WITHOUT.match(line)} <= by_uwsgi
