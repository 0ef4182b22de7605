"""The WAF is healthy only while each family of rules refuses what it is there for; what does not is named.

Each way to break them leaves an nginx that starts and serves: without the self-test nobody would know.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import pytest

from tests.clients import wait_until
from tests.nginx.backends import RawBackend
from tests.waf.conftest import printed
from tests.waf.site import Waf
from tools.local.nginx import Edit


class Health(NamedTuple):
    """What the health check says."""

    code: int
    lines: list[dict[str, Any]]

    @property
    def named(self) -> set[str]:
        return {line["rule"] for line in self.lines}


def ask(waf: Waf) -> Health:
    done = waf.self_test()
    assert not done.stderr, done.stderr
    return Health(done.returncode, [json.loads(line) for line in done.stdout.splitlines()])


Start = Callable[..., Waf]


@pytest.fixture
def start(waf_box: str, tmp_path_factory: pytest.TempPathFactory, backend: RawBackend) -> Iterator[Start]:
    """Start a WAF without a gateway; `broken` are shell commands in the folder of the rules, before nginx reads them."""
    started = []

    def begin(env: Mapping[str, str] | None = None, edits: Sequence[Edit] = (), broken: str = "") -> Waf:
        waf = Waf(tmp_path_factory.mktemp("waf"), waf_box, upstreams=[backend.address], env=env or {}, edits=edits)
        script = f'cd "{waf.folder}/run/crs"\nedit() {{ sed -e "$2" "$1" >new && mv new "$1"; }}\n{broken}\n'
        (waf.folder / "conf" / "docker-entrypoint.d" / "19-break.sh").write_text(f"#!/bin/sh\nset -e\n{script}")
        (waf.folder / "conf" / "docker-entrypoint.d" / "19-break.sh").chmod(0o755)
        started.append(waf)
        waf.start()
        return waf

    yield begin
    for waf in started:
        waf.stop()


def own(*lines: str) -> Edit:
    """Lines in the user's file that is loaded before the rules."""
    return Edit("rules/user-before.conf", r"\Z", "\n" + "\n".join(lines) + "\n")


def after(*lines: str) -> Edit:
    return Edit("rules/user-after.conf", r"\Z", "\n" + "\n".join(lines) + "\n")


ALL = {"911", "913", "920", "921", "922", "930", "931", "932", "934", "941", "942", "943", "949"}


def level(setting: str) -> Edit:
    return Edit("rules/exclusions.conf", r"\A", f'SecAction "id:1000,phase:1,pass,nolog,setvar:tx.{setting}"\n')


# What is broken, the families or rules that must be named at least, and how it is broken.
WAYS: list[tuple[str, set[str], dict[str, Any]]] = [
    ("a file is empty", {"942"}, {"broken": "edit REQUEST-942.conf d"}),
    ("a file was cut off", {"941"}, {"broken": "edit REQUEST-941.conf '/detectXSS/,$d'"}),
    ("a marker is missing, and all that follows is skipped", {"942", "943", "949"}, {"broken": "edit REQUEST-941.conf /^SecMarker/d"}),
    ("a list of names is empty", {"930", "10214"}, {"broken": "edit lfi-os-files.data d; edit restricted-files.data d"}),
    ("expressions match nothing", {"934"}, {"broken": "edit REQUEST-934.conf 's/@rx /@rx (?!)/'"}),
    ("the decision is missing", ALL, {"broken": "edit REQUEST-949.conf d"}),
    ("the decision is removed", ALL, {"edits": [after("SecRuleRemoveById 949110")]}),
    ("rules are removed by tag", {"941"}, {"edits": [after('SecRuleRemoveByTag "attack-xss"')]}),
    ("an exclusion is for all arguments", {"932", "942"}, {"edits": [after('SecRuleUpdateTargetByTag "OWASP_CRS" "!ARGS"')]}),
    ("an exclusion is for all addresses", {"942"}, {"edits": [
        own('SecRule REQUEST_URI "@beginsWith /" "id:1000,phase:1,pass,nolog,ctl:ruleRemoveByTag=attack-sqli"')]}),
    ("a rule lets everything pass", ALL, {"edits": [own('SecAction "id:1000,phase:1,allow,nolog"')]}),
    ("the engine is off", ALL, {"edits": [after("SecRuleEngine Off")]}),
    ("the engine only detects", ALL, {"edits": [after("SecRuleEngine DetectionOnly")]}),
    ("no server asks the rules", {"10101"}, {"edits": [Edit("conf.d/50-waf.conf", r"modsecurity on;", "modsecurity off;")]}),
    ("no level is asked", {"941", "942"}, {"edits": [level("paranoia_level=0")]}),
    ("a match counts nothing", {"941", "942"}, {"edits": [level("critical_anomaly_score=0")]}),
    ("a higher level does not arrive", {"920271", "920272"}, {
        "env": {"WAF_PARANOIA": "3"}, "edits": [Edit("templates/rules/settings.conf.template", r"\$\{WAF_PARANOIA\}", "1")]}),
    ("bodies are not read", {"200002", "941"}, {"edits": [own("SecRequestBodyAccess Off")]}),
    ("JSON is not parsed", {"200002", "10230"}, {"edits": [after("SecRuleRemoveById 10120")]}),
    ("the kit's own rules are missing", {"10220", "10240"}, {"edits": [Edit("rules/kit.conf", r"^# --- Attacks(?s:.*)\Z", "")]}),
]  # fmt: skip


def test_rules_as_they_are_pass(start: Start) -> None:
    waf = start()

    assert ask(waf) == (0, [])
    assert ask(waf) == (0, [])
    assert printed(waf) == []
    assert waf.request("POST", "/", "Content-Type: application/x-probe", body=b"-").status == 415


@pytest.mark.runtimes("compose")  # twenty starts: each of them once
@pytest.mark.parametrize(("least", "how"), [way[1:] for way in WAYS], ids=[way[0].replace(" ", "-") for way in WAYS])
def test_what_does_not_refuse_is_named(start: Start, least: set[str], how: Mapping[str, Any]) -> None:
    health = ask(start(**how))

    assert health.code == 1
    assert least <= health.named


def test_a_harmless_request_that_is_refused_is_named(start: Start) -> None:
    health = ask(start(edits=[own('SecRule ARGS "@contains words" "id:1000,phase:2,deny,log"')]))

    assert (health.code, {(line["waf"], line["place"]) for line in health.lines}) == (
        1,
        {("refuses what is harmless", place) for place in ("query", "form", "json", "multipart")},
    )


@pytest.mark.parametrize(
    "setting",
    [
        "WAF_MODE=DetectionOnly",
        "WAF_SAMPLING=1",
        "WAF_ANOMALY_THRESHOLD=1000",
        "WAF_PARANOIA=4",
        "WAF_CONTENT_TYPES=application/json",
        "WAF_METHODS=GET HEAD",
    ],
)
def test_settings_are_no_fault(start: Start, setting: str) -> None:
    assert ask(start(dict([setting.split("=")]))) == (0, [])


def test_while_it_only_detects_a_fault_is_named_and_the_container_healthy(start: Start) -> None:
    health = ask(start({"WAF_MODE": "DetectionOnly"}, broken="edit REQUEST-942.conf d"))

    assert (health.code, health.named) == (0, {"942"})


def test_it_asks_again_after_a_reload(start: Start) -> None:
    """The twin of asking once: rules that were broken since are found."""
    waf = start()
    assert ask(waf) == (0, [])
    with (waf.folder / "conf" / "rules" / "user-after.conf").open("a") as file:
        file.write('SecRuleRemoveByTag "attack-xss"\n')
    assert ask(waf) == (0, [])
    waf.reload()

    wait_until(lambda: ask(waf).named >= {"941"}, "it has asked the new workers")
