"""Rules that are held against all values at once (waf/merge.awk) decide as they would one by one, and cost less."""

import json
import re
import subprocess
from collections.abc import Mapping
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path

import pytest

from tests.clients import wait_until
from tests.gateways import Gateways
from tests.nginx.backends import RawBackend
from tests.nginx.gateway import ROOT, Gateway
from tests.waf.conftest import audited, rules_of
from tests.waf.corpus import JSON, Request, attacks, benign
from tests.waf.cost import ONE_WORKER, cost_ms, worker_of, worst
from tests.waf.test_detection import BROWSER
from tests.waf.test_firewall import printed
from tools.local.nginx import Edit

ONE_BY_ONE = Edit("waf/main.conf", r'^Include ".*/merged\.conf"$', "")
# Above this many values the merged expression's own match counts (waf_most_values in nginx/render).
MANY = 300


@pytest.fixture(scope="module")
def one_by_one(gateway: Gateway, shared_gateways: Gateways, backend: RawBackend) -> Gateway:
    """The twin: every rule is held against every value and every name."""
    assert gateway
    return shared_gateways(backend.address, ONE_WORKER, [ONE_BY_ONE])


def send(gateway: Gateway, request: Request, request_id: str = "") -> int:
    headers: Mapping[str, str] = {**BROWSER, **({"X-Request-ID": request_id} if request_id else {}), **request.headers}
    connection = HTTPConnection("127.0.0.1", gateway.port, timeout=60)
    connection.request(request.method, request.path, body=request.body or None, headers=headers)
    status = connection.getresponse().status
    connection.close()
    return status


def posted(document: Mapping[str, object]) -> Request:
    return Request("merged", "json", "", "POST", "/api/v1/entries", {"Content-Type": JSON}, json.dumps(document).encode())


def test_they_decide_alike(gateway: Gateway, one_by_one: Gateway) -> None:
    sample = [*attacks()[::3], *benign()[::3]]
    different = [(request.place, request.text) for request in sample if send(gateway, request) != send(one_by_one, request)]

    assert different == []


def named_rules(gateway: Gateway, request_id: str) -> list[int]:
    """The rules that refused a request; their line is written after the answer was sent."""
    return wait_until(lambda: rules_of(audited(gateway).get(request_id, {"messages": []})), "the refusal is in the audit log")


def test_the_same_rules_are_named(gateway: Gateway, one_by_one: Gateway) -> None:
    """The tuning of a site goes on: what is refused is refused by rules of the Core Rule Set, by their numbers."""
    request = posted({"a": "b", "text": "<script>alert(1)</script>", "id": "1 UNION SELECT password FROM users--"})
    found = []
    for number, one in enumerate((gateway, one_by_one)):
        assert send(one, request, f"named-rules-{number}") == 403
        found.append(named_rules(one, f"named-rules-{number}"))

    assert found[0] == found[1]
    assert len(found[0]) > 2


ATTACKS = ("<script>alert(1)</script>", "1 UNION SELECT password FROM users--", "; cat /etc/passwd", "../../../../etc/passwd", "{{7*7}}")


@pytest.mark.parametrize("text", ATTACKS)
def test_an_attack_among_many_values_is_found(gateway: Gateway, text: str) -> None:
    many = {f"field_{number}": "some words" for number in range(MANY)}

    assert send(gateway, posted(many)) == 200
    assert send(gateway, posted({**many, "last": text})) == 403


@pytest.mark.parametrize("text", ["<script>alert(1)</script>", "1' OR '1'='1", "user[$ne]"])
def test_an_attack_in_a_name_is_found(gateway: Gateway, text: str) -> None:
    assert send(gateway, posted({text: "b"})) == 403


def test_names_with_signs_are_counted(gateway: Gateway, one_by_one: Gateway) -> None:
    odd = posted({f"It's {number}": 1 for number in range(51)})
    few = posted({f"It's {number}": 1 for number in range(45)} | {f"Größe, {number}: m/s": 1 for number in range(200)})

    long = posted({f"It's {'long' * 40} {number}": 1 for number in range(30)})

    assert (send(gateway, odd, "many-odd-names"), send(one_by_one, odd)) == (400, 200)
    assert (send(gateway, long, "long-odd-names"), send(one_by_one, long)) == (400, 200)
    assert send(gateway, few) == 200
    wait_until(lambda: {"many-odd-names", "long-odd-names"} <= {line["request_id"] for line in printed(gateway)}, "both are in the log")


def cheapest(gateway: Gateway, request: Request) -> float:
    """CPU time of the worker in milliseconds, the least of three."""
    with closing(HTTPConnection("127.0.0.1", gateway.port, timeout=60)) as connection:
        return min(cost_ms(connection, worker_of(gateway), request)[0] for _ in range(3))


def test_they_cost_less(one_by_one: Gateway, shared_gateways: Gateways, backend: RawBackend) -> None:
    """CPU time of two workers; it was found to be less than half."""
    merged, single = (cheapest(one, worst()[0]) for one in (shared_gateways(backend.address, ONE_WORKER), one_by_one))

    assert merged < 0.75 * single


@pytest.mark.parametrize("paranoia", ["2", "4"])
def test_other_levels_start_too(start_gateway: Gateways, backend: RawBackend, gateway: Gateway, paranoia: str) -> None:
    assert gateway
    strict = start_gateway(backend.address, {"WAF_PARANOIA": paranoia})

    assert send(strict, posted({"a": "<script>alert(1)</script>"})) == 403


# --- What is merged, on rules of the test's own

RULES = r"""
SecRule TX:EXECUTING_PARANOIA_LEVEL "@lt 1" "id:900,phase:2,pass,nolog,skipAfter:END"
SecRule REQUEST_COOKIES|ARGS_NAMES|ARGS "@rx (a)\1" "id:901,phase:2,block,t:none,t:lowercase,tag:'one'"
SecRule ARGS "b\"c" \
    "id:902,phase:2,block,\
    t:none,t:lowercase,tag:'two'"
SecRule ARGS "@rx d" "id:903,phase:2,block,t:none,t:lowercase"
SecRule ARGS "@rx e" "id:904,phase:2,block,t:none"
SecRule ARGS "@rx f" "id:905,phase:2,block,t:none,t:lowercase,multiMatch"
SecRule ARGS "@rx g" "id:906,phase:2,block,t:none,t:lowercase,chain"
    SecRule ARGS "@rx h" "t:none,t:lowercase"
SecRule ARGS "!@rx i" "id:907,phase:2,block,t:none,t:lowercase"
SecRule ARGS "@pm j.* k" "id:908,phase:2,block,t:none,t:lowercase"
SecRule ARGS "@pmFromFile j" "id:912,phase:2,block,t:none,t:lowercase"
SecRule ARGS "@rx m" "id:913,phase:2,block,t:none,t:lowercase,t:base64Decode"
SecRule REQUEST_HEADERS "@rx k" "id:909,phase:2,block,t:none,t:lowercase"
SecRule TX:EXECUTING_PARANOIA_LEVEL "@lt 2" "id:910,phase:2,pass,nolog,skipAfter:END"
SecRule ARGS "@rx l" "id:911,phase:2,block,t:none,t:lowercase"
"""


def merged(folder: Path, exclusions: str = "", level: int = 1) -> tuple[list[str], str]:
    """The expressions that are made of RULES, and all that is written."""
    (folder / "exclusions").write_text(exclusions)
    (folder / "rules").write_text(RULES)
    files = ["rules=0", str(folder / "exclusions"), "rules=1", str(folder / "rules")]
    command = ["awk", "-v", f"level={level}", "-v", "most=9", "-f", str(ROOT / "nginx/waf/merge.awk"), *files]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return re.findall(r'"@rx \(\?\|(.*)\)" "id', text), text


def test_rules_with_the_same_transformations_become_one(tmp_path: Path) -> None:
    """In small letters is in letters of any size, unless something is decoded afterwards; words are an expression too."""
    expressions, text = merged(tmp_path)

    assert expressions == [r"(?:(?i:(a)\1))|(?:(?i:b\"c))|(?:(?i:d))|(?:e)|(?:(?i:(?i:\Qj.*\E|\Qk\E)))"]
    assert "ctl:ruleRemoveTargetById=901;ARGS,ctl:ruleRemoveTargetById=902;ARGS,ctl:ruleRemoveTargetById=903;ARGS" in text
    assert 'SecRuleUpdateTargetById 901 "!ARGS_NAMES|TX:kit_names"' in text
    assert "(?:(?i:l))" not in expressions[0]
    assert "(?:(?i:l))" in merged(tmp_path, level=2)[0][0]


@pytest.mark.parametrize(
    "exclusion",
    ["SecRuleRemoveById 902 4711", "SecRuleRemoveById 902-902", 'SecRuleRemoveByTag "two"', 'SecRuleUpdateTargetById 902 "!ARGS:text"'],
)
def test_what_was_left_out_or_changed_by_hand_stays_so(tmp_path: Path, exclusion: str) -> None:
    (expression,), text = merged(tmp_path, f"# of mine\n{exclusion}\n")

    assert 'b\\"c' not in expression
    assert "902" not in text
    assert "903" in text
