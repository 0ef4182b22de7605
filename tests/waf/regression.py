"""The Core Rule Set's own regression tests against the WAF as shipped: `python -m tests.waf.regression TREE [IMAGE]`.

TREE is an unpacked release (rules/ and tests/regression/tests); nothing of it is kept here. With paranoia 4 and DetectionOnly, so
that each rule is asked and nothing is answered first, and once more without exclusions; with the nginx in IMAGE, else this
machine's. Prints a row of counts by file.
"""

import base64
import re
import socket
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from http import HTTPStatus
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import yaml

from tests.clients import wait_until
from tests.gateways import box_of
from tests.nginx.backends import RawBackend, answer
from tests.nginx.gateway import HOST, ROOT
from tests.waf.conftest import rules_of
from tests.waf.site import Waf
from tools.local.nginx import Edit

OUTCOMES = ("agreed", "excluded on purpose", "refused earlier", "missed", "not loaded", "nothing expected")
LOADED = re.compile(r"crs/REQUEST-(\d+)\.conf")
# Not left out by a line of the rules, and yet on purpose.
ON_PURPOSE = {
    911100: "WAF_METHODS has PUT, PATCH and DELETE",
    920170: "nginx reads no body without a length",
    920180: "as 920170",
    920210: "Connection ends at the gateway",
    920250: "a setting of the rule set that is off, as there",
    920360: "no limit for the length of an argument",
    920370: "as 920360",
    920380: "as 920360: WAF_VALUES",
    920390: "as 920360: WAF_BODY_LIMIT",
    920400: "as 920360",
    920410: "as 920360",
    920450: "Accept-Charset passes (10300)",
    920460: "its expression doubles backslashes for Apache, which halves them; libmodsecurity then looks for two",
    941330: "as 920460",
    942131: "libmodsecurity matches it where both sides are the same, too (paranoia 2)",
}
# The same for a rule that matches where it should not; where it does not match it is missed.
TOO_OFTEN = {922110: "libmodsecurity 3.0.9 leaves the line break at the end of a part's header: `charset=utf-8\\r\\n` is no known one"}
WITHOUT_EXCLUSIONS = (
    Edit("rules/exclusions.conf", r"\A(?s:.*)\Z", ""),
    Edit("rules/kit.conf", r"^SecRule(?:UpdateTarget|Remove)ById .*$", ""),
    Edit("rules/kit.conf", r",(?:\\\s+)?ctl:ruleRemoveTargetById=[^,\"]*", ""),
)
# The kit's own rules that answer at once: what they refuse needs no other.
AT_ONCE = frozenset({10100, 10101, 10102, 10110, 10111, 10112, 10131, 10301, 10302, 200002, 200003, 200004, 200007, 200008})


class Stage(NamedTuple):
    """One request, and the rule that must match, or must not."""

    family: str
    title: str
    request: bytes
    expected: frozenset[int]
    unexpected: frozenset[int]


def _ids(output: Mapping[str, Any], kind: str) -> frozenset[int]:
    """Both generations' words: `log_contains: id "942100"`, and `log: {expect_ids: [942100]}`."""
    found = re.findall(r'id "(\d+)"', str(output.get("log_contains" if kind == "expect_ids" else "no_log_contains", "")))
    return frozenset(map(int, [*found, *(output.get("log") or {}).get(kind, ())]))


def _request(given: Mapping[str, Any], request_id: str) -> bytes:
    """What the test sends, as it is, but for the id and the end of the connection."""
    if given.get("encoded_request"):
        raw = base64.b64decode(given["encoded_request"])
        head, separator, body = raw.partition(b"\r\n")
        return head + separator + f"X-Request-ID: {request_id}\r\nConnection: close\r\n".encode() + body
    headers = {str(name): str(value) for name, value in (given.get("headers") or {}).items() if str(name).lower() != "connection"}
    data = given.get("data") or ""
    text = "".join(data) if isinstance(data, list) else str(data)
    names = {name.lower() for name in headers}
    if text and "multipart/" in headers.get("Content-Type", ""):
        text = re.sub(r"\r?\n", "\r\n", text)
    if text and "content-type" not in names and given.get("autocomplete_headers", True) and not given.get("stop_magic"):
        headers["Content-Type"] = "application/x-www-form-urlencoded"
    if text and "content-length" not in names:
        headers["Content-Length"] = str(len(text.encode()))
    path = quote(str(given.get("uri") or "/"), safe="!#$%&'()*+,/:;=?@[]~\\\"<>^`{|}")
    lines = [
        f"{given.get('method') or 'GET'} {path} {given.get('version', 'HTTP/1.1')}",
        f"X-Request-ID: {request_id}",
        "Connection: close",
    ]
    if "host" not in names and given.get("version") != "HTTP/1.0":
        lines.append("Host: localhost")
    return ("\r\n".join([*lines, *(f"{name}: {value}" for name, value in headers.items())]) + "\r\n\r\n" + text).encode()


def stages(tree: Path) -> Iterator[tuple[str, Stage]]:
    """Yield every stage with the id of its request."""
    overrides = tree / "tests" / "regression" / "nginx-overrides.yaml"
    others = (yaml.safe_load(overrides.read_text()) if overrides.exists() else {}).get("test_overrides", ())
    otherwise = {(one["rule_id"], number) for one in others for number in one["test_ids"]}
    for number, file in enumerate(sorted((tree / "tests" / "regression" / "tests").rglob("*.yaml"))):
        document = yaml.safe_load(file.read_text(errors="replace")) or {}
        own = re.findall(r"\d{6}", file.stem)
        for test_number, test in enumerate(document.get("tests") or ()):
            for stage_number, one in enumerate(test["stages"]):
                stage = one.get("stage", one)
                request_id = f"crs-{number}-{test_number}-{stage_number}"
                # What the rule set itself expects otherwise of nginx is not asked.
                known = (document.get("rule_id"), test.get("test_id")) in otherwise
                output = {} if known else stage.get("output") or {}
                expected, unexpected = _ids(output, "expect_ids"), _ids(output, "no_expect_ids")
                title = str(test.get("test_title") or f"{file.stem}-{test.get('test_id')}")
                yield request_id, Stage(own[0][:3] if own else "?", title, _request(stage["input"], request_id), expected, unexpected)


def send(port: int, request: bytes) -> int:
    """Return the status; 0 when there was no answer."""
    try:
        with socket.create_connection((HOST, port), timeout=10) as connection:
            connection.sendall(request)
            head = connection.recv(64)
    except OSError:
        return 0
    match = re.match(rb"HTTP/\d\.\d (\d{3})", head)
    return int(match[1]) if match else 0


def judge(stage: Stage, status: int, matched: set[int], without: set[int], loaded: frozenset[str]) -> str:
    """`matched`: the rules that did; `without`: those of a WAF that has no exclusions."""
    asked = stage.expected or stage.unexpected
    if not asked:
        return "nothing expected"
    if {str(rule)[:3] for rule in asked} - loaded:
        return "not loaded"
    wrong = (stage.expected - matched) | (stage.unexpected & matched)
    if not wrong:
        return "agreed"
    # While the WAF only detects, any answer but the backend's is nginx's own.
    if matched & AT_ONCE or status != HTTPStatus.OK:
        return "refused earlier"
    still = (stage.expected - without) | ((stage.unexpected & without) - TOO_OFTEN.keys())
    return "missed" if still - ON_PURPOSE.keys() else "excluded on purpose"


def run(tree: Path, box: str, folder: Path, edits: Sequence[Edit]) -> dict[str, tuple[Stage, int, set[int]]]:
    """Send all stages to a WAF; return what became of each."""
    env = {"WAF_RULES_DIR": str(tree), "WAF_MODE": "DetectionOnly", "WAF_PARANOIA": "4", "WAF_ANOMALY_THRESHOLD": "1"}
    with RawBackend(answer) as backend:
        waf = Waf(folder, box, upstreams=[backend.address], env=env, edits=edits)
        waf.start()
        try:
            sent = {request_id: (stage, send(waf.port, stage.request)) for request_id, stage in stages(tree)}
            waf.get("/?q=%7B%7B7*7%7D%7D", "X-Request-ID: the-last")
            wait_until(lambda: "the-last" in waf.audited(), "the last line is written")
            audited = waf.audited()
        finally:
            waf.stop()
    return {name: (stage, status, set(rules_of(audited.get(name, {"messages": []})))) for name, (stage, status) in sent.items()}


def main(tree: Path, image: str = "") -> int:
    """Run them all; 1 when a rule is missed."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    missed = []
    loaded = frozenset(LOADED.findall((ROOT / "waf" / "rules" / "main.conf").read_text()))
    with ExitStack() as exits:
        # In a container the tree's folder is all that is seen.
        folder = Path(exits.enter_context(tempfile.TemporaryDirectory(dir=tree.parent)))
        box = exits.enter_context(box_of(image, tree.parent)) if image else ""
        shipped, bare = run(tree, box, folder / "waf", ()), run(tree, box, folder / "bare", WITHOUT_EXCLUSIONS)
    for name, (stage, status, matched) in shipped.items():
        outcome = judge(stage, status, matched, bare[name][2], loaded)
        counts[stage.family][outcome] += 1
        if outcome == "missed":
            missed.append((stage.title, status, sorted(stage.expected or stage.unexpected)))
    print(f"| file | {' | '.join(OUTCOMES)} |\n|---|{'---|' * len(OUTCOMES)}")
    for family, row in sorted([*counts.items(), ("all", sum(counts.values(), Counter()))]):
        print(f"| {family} | {' | '.join(str(row[outcome]) for outcome in OUTCOMES)} |")
    print("\n".join(map(str, missed)), file=sys.stderr)
    return bool(missed)


if __name__ == "__main__":
    if not 2 <= len(sys.argv) <= 3 or not (Path(sys.argv[1]) / "tests" / "regression" / "tests").is_dir():
        sys.exit("usage: python -m tests.waf.regression TREE [IMAGE]; TREE is a Core Rule Set with tests/regression/tests")
    sys.exit(main(Path(sys.argv[1]).resolve(), *sys.argv[2:]))
