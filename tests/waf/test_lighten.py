"""The rules as they are loaded (waf/lighten.py) answer as those that are written, and what cannot be proved is asked."""

import ctypes
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.waf.corpus import JSON, Request, attacks, benign, in_place
from tests.waf.differential import Comparison, Generator, places
from tests.waf.engine import LIBRARY, render
from tools.local.nginx import Edit
from waf.lighten import Proof

VALUES, SMALL = 1000, 3000
SCRIPT, UNION = "<script>alert(1)</script>", "1 union select name from users"
Compare = Callable[..., Comparison]


@pytest.fixture
def compare(tmp_path: Path, not_run: Callable[[str], None]) -> Compare:
    """Return a function that loads both, in DetectionOnly: nothing is answered before all rules were asked."""
    try:
        ctypes.CDLL(LIBRARY)
    except OSError as error:
        not_run(f"{error} (apt-get install libmodsecurity3)")

    def load(*edits: Edit) -> Comparison:
        return Comparison(tmp_path, {"WAF_MODE": "DetectionOnly"}, edits)

    return load


def own(file: str, line: str) -> Edit:
    return Edit(f"rules/{file}.conf", r"\Z", f"\n{line}\n".replace("\\", "\\\\"))


def test_the_verdicts_are_the_same_rule_by_rule(compare: Compare) -> None:
    """`make waf-differential` asks more. The twin is test_a_wrong_proof_is_found."""
    both = compare()
    generator = Generator(both.units, seed=1)
    for request in [*attacks()[::3], *(request for request in benign()[::3] if len(request.body) < SMALL)]:
        both.ask(request)
    for _ in range(VALUES):
        both.ask(places(generator.value(), generator.chance))

    assert both.differences == []
    assert len(both.matched) >= 55


def _json(body: bytes) -> Request:
    return Request("", "json", "", "POST", "/", {"Content-Type": JSON}, body)


ESCAPED = b'{"a": "1 ' + b"".join(rb"\u%04x" % byte for byte in b"union select") + b' name from users"}'
NOTE = Request("", "", "", headers={"X-Note": UNION})
LEVEL = "setvar:tx.paranoia_level=2,setvar:tx.executing_paranoia_level=2"
JUMP = "skipAfter:END-REQUEST-932-APPLICATION-ATTACK-RCE"
CHANGES = {
    "more targets": (own("user-after", 'SecRuleUpdateTargetById 942270 "REQUEST_HEADERS:X-Note"'), NOTE, 942270),
    "more targets by tag": (own("user-after", 'SecRuleUpdateTargetByTag "attack-sqli" "REQUEST_HEADERS:X-Note"'), NOTE, 942270),
    "fewer targets": (
        own("user-before", 'SecAction "id:1000,phase:1,pass,nolog,ctl:ruleRemoveTargetById=942270;ARGS:message"'),
        in_place("", "form", UNION),
        942360,
    ),
    "a jump over the questions": (
        own("user-before", f'SecAction "id:1000,phase:2,pass,nolog,{JUMP}"'),
        in_place("", "query", SCRIPT),
        941110,
    ),
    "another level for some requests": (
        own("user-before", f'SecRule REQUEST_URI "@beginsWith /" "id:1000,phase:1,pass,nolog,{LEVEL}"'),
        in_place("", "query", "a' and 1=1 --"),
        942330,
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_rules_of_the_users_change_both_alike(compare: Compare, change: str) -> None:
    edit, request, rule = CHANGES[change]
    both = compare(edit)
    both.ask(request)

    assert both.differences == []
    assert rule in both.matched


@pytest.mark.parametrize(
    ("edits", "asked", "rule"),
    [
        # That decoding changes nothing; that rules may be moved out of what is jumped over.
        ([Edit("lighten.py", r'\(b"&", \[\]\)', '(b"", [])')], in_place("", "json", "&#60;script&#62;"), "941110"),
        (
            [CHANGES["a jump over the questions"][0], Edit("lighten.py", "at > markers", "at or markers")],
            in_place("", "query", "{{7*7}}"),
            "10220",
        ),
        # That JSON writes signs otherwise, and that names of it are joined.
        ([Edit("lighten.py", r'parts \| \{b"\\\\"\}', "parts")], _json(ESCAPED), "942270"),
        ([Edit("lighten.py", r'max\(text\.split\(b"\."\), key=len\)', "text")], _json(b'{"document": {"cookie": "<b"}}'), "941180"),
    ],
)
def test_a_wrong_proof_is_found(compare: Compare, edits: list[Edit], asked: Request, rule: str) -> None:
    both = compare(*edits)
    both.ask(asked)

    (difference,) = both.differences
    assert rule in difference


def test_where_it_fails_the_rules_are_loaded_as_they_are(tmp_path: Path) -> None:
    written, loaded = render(tmp_path, {}, [Edit("lighten.py", r"^    directives\(units\)$", '    raise SystemExit("failed")')])

    assert loaded.read_text() == f'Include "{written}"\n'


@pytest.mark.parametrize(
    ("expression", "texts"),
    [
        (r"(?i)<script[^>]*>", {"<script"}),
        (r"union\s+(?:all\s+)?select", {"union"}),
        (r"(?:sleep|benchmark)\s*\(", {"("}),
        (r"\b(?:eval|exec)\b", {"val", "xec"}),
        (r"[|;]\s*ls", {"ls"}),
        (r"^(?=.*[<>])(?!.*x)", {"<", ">"}),
        (r"(?:abc)?", None),
        (r"a*", None),
        (r"(?!x)", None),
        (r"[^a]", None),
        (r" ", None),
        (r"[[:alpha:]]<", None),
        (r"\v<", None),
        (r"\Q<\E", None),
        (r"<{,2}", None),
        (r"(?x) < # >", {"<"}),
        (r"%{tx.name}", None),
    ],
)
def test_what_each_match_holds(expression: str, texts: set[str] | None) -> None:
    """None: no proof, also for what Python and PCRE read differently. A space may come from a transformation."""
    found = Proof("value").of(expression)

    assert (None if found is None else {text.decode() for text in found}) == texts
