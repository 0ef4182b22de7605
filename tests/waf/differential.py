"""The rules as they are loaded (waf/lighten.py) against the rules as they are written: the same verdict, rule by rule.

`make waf-differential`. Asked are the requests of this folder, the regression tests of a Core Rule Set (--regression), and values that the
rules' own expressions make, changed a little. With each match goes the proof of its rule alone: what matched must open it, whatever else
opens the gate.
"""

import argparse
import base64
import json
import random
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from re import _constants, _parser
from typing import Any
from urllib.parse import quote

import yaml

from tests.waf.corpus import FORM, JSON, Request, attacks, benign
from tests.waf.engine import RULE, Engine, Verdict, render
from tools.local.nginx import Edit
from waf import lighten

VARIABLE = re.compile(rb"against variable `([^']*)'")
ANY = [chr(code) for code in (*range(0x20, 0x7F), 0x0A, 0xE4, 0xBC)]
WORDS = (
    "the garden",
    "like",
    "42",
    "red",
    "2026-12-01",
    "select",
    "union",
    "it's",
    "https://example.org/a",
    "Grüße",
    "a.b_c",
    "from",
    "(x)",
)


class Generator:
    """Makes values, the same for the same seed."""

    def __init__(self, units: list[lighten.Unit], seed: int) -> None:
        self.chance = random.Random(seed)  # noqa: S311 - the same values every time
        self.sources = [source for unit in units for source in self.read(unit)]
        self.sources += [[request.text] for request in attacks()]

    def read(self, unit: lighten.Unit) -> Iterator[Any]:
        """What makes values for each link of a rule: an expression taken apart, or a list of texts."""
        for link in unit.links:
            operator, _, argument = link.operator.lstrip("!").partition(" ")
            if operator == "@rx":
                try:
                    yield _parser.parse(argument)
                except (re.error, OverflowError):
                    yield [argument]
            elif operator in {"@pm", "@pmFromFile", "@pmf", "@contains", "@streq", "@beginsWith", "@endsWith", "@within"}:
                file = unit.file.parent / argument
                lines = file.read_text(encoding="latin-1").splitlines() if operator in {"@pmFromFile", "@pmf"} else argument.split()
                yield [line for line in lines if line and not line.startswith("#")] or [""]

    def value(self) -> str:
        """One text."""
        source = self.chance.choice(self.sources)
        text = self.chance.choice(source) if isinstance(source, list) else self.sequence(source)
        for _ in range(self.chance.choice((0, 0, 1, 1, 2, 3))):
            text = self.change(text)
        return text[:1500]

    def sequence(self, items: Any) -> str:
        return "".join(self.node(op, value) for op, value in items)

    def node(self, op: Any, value: Any) -> str:
        pick = self.chance.choice
        if op is _constants.LITERAL:
            return chr(value)
        if op is _constants.IN:
            found = [chr(code) for code in sorted(lighten.members(value))]
            return pick([char for char in found if char in ANY] or found or [""])
        if op is _constants.SUBPATTERN or op is _constants.ATOMIC_GROUP:
            return self.sequence(value[3] if op is _constants.SUBPATTERN else value)
        if op is _constants.BRANCH:
            return self.sequence(pick(value[1]))
        if op in {_constants.MAX_REPEAT, _constants.MIN_REPEAT, _constants.POSSESSIVE_REPEAT}:
            low, high, what = value
            return "".join(self.sequence(what) for _ in range(min(low + pick((0, 0, 1, 2)), high)))
        return pick(ANY) if op in {_constants.ANY, _constants.NOT_LITERAL} else ""

    def change(self, text: str) -> str:
        """Encode, break up, or put it among other words."""
        chance = self.chance
        at = chance.randrange(len(text) + 1)
        before, char, after = text[:at], text[at : at + 1] or "x", text[at + 1 :]
        code = ord(char) & 0xFF
        changed = chance.choice(
            (
                f"%{code:02x}", f"%25{code:02X}", f"%u{code:04x}", f"%uff{code - 0x20 & 0xFF:02x}", f"&#{code};", f"&#x{code:x};",
                f"\\x{code:02x}", f"\\{code:x} ", f"\\u{code:04x}", f"\\{char}", f"{char}\0", f"{char}/**/", f"{char}'", f'"{char}',
                f"{char}^", f"{char},", f" {char}", f"{char}+", f"{char}\t", f"{char}//", f"{char}/./", char.swapcase(), char * 2, "",
                chr(0xFF00 + (code - 0x20 & 0xFF)), chr(0x100 + code),
            )
        )  # fmt: skip
        word = chance.choice(WORDS)
        return chance.choice(
            (before + changed + after, before + changed + after, f"{word} {text}", f"{text} {word}", text.swapcase(), text[at:])
        )


def places(value: str, chance: random.Random) -> Request:
    """A request with the value in one place."""
    raw = quote(value.encode(), safe="")
    header = re.sub(r"[\r\n\0]", "", value)
    place = chance.choice(
        (
            "query",
            "query",
            "query",
            "name",
            "form",
            "json",
            "json",
            "json",
            "json name",
            "json names",
            "cookie",
            "cookie",
            "agent",
            "referer",
            "path",
            "file",
        )
    )
    requests = {
        "query": Request("", place, value, path=f"/?q={raw}&page=2"),
        "name": Request("", place, value, path=f"/?{raw}=1&page=2"),
        "form": Request("", place, value, "POST", "/", {"Content-Type": FORM}, f"q={raw}&page=2".encode()),
        "json": Request(
            "", place, value, "POST", "/", {"Content-Type": JSON}, json.dumps({"q": value, "page": 2}, ensure_ascii=False).encode()
        ),
        "json name": Request("", place, value, "POST", "/", {"Content-Type": JSON}, json.dumps({value: "x"}, ensure_ascii=False).encode()),
        # The engine joins names by dots: the name is the same, the body does not hold it.
        "json names": Request(
            "", place, value, "POST", "/", {"Content-Type": JSON}, json.dumps(_nested(value.split(".")), ensure_ascii=False).encode()
        ),
        "cookie": Request("", place, value, headers={"Cookie": f"q={header.replace(';', ',')}; lang=en"}),
        "agent": Request("", place, value, headers={"User-Agent": header}),
        "referer": Request("", place, value, headers={"Referer": header}),
        "path": Request("", place, value, path=f"/entries/{raw}"),
        "file": Request("", place, value, "POST", "/", {"Content-Type": 'multipart/form-data; boundary="b"'}, _file(header.rstrip("\\"))),
    }
    return requests[place]


def _nested(names: list[str]) -> object:
    return {names[0]: _nested(names[1:])} if names else ["x"]


def _file(name: str) -> bytes:
    """A form with one file. No backslash before the closing quote: libmodsecurity 3.0.9 then answers one request in two ways (400 both)."""
    return f'--b\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\nx\r\n--b--\r\n'.encode()


def regression(folder: Path) -> Iterator[Request]:
    """The requests of a Core Rule Set's own tests (its tests/regression/tests)."""
    for file in sorted(folder.rglob("*.yaml")):
        for test in (yaml.safe_load(file.read_text()) or {}).get("tests", ()):
            for stage in test.get("stages", ()):
                given = stage.get("stage", stage).get("input", {})
                data = given.get("data") or ""
                text = data if isinstance(data, str) else "\n".join(map(str, data))
                body = base64.b64decode(given["encoded_data"]) if given.get("encoded_data") else text.encode()
                headers = {str(name): str(value) for name, value in (given.get("headers") or {}).items()}
                yield Request("", "regression", file.stem, str(given.get("method", "GET")), str(given.get("uri", "/")), headers, body)


def excludes(need: lighten.Need, text: bytes) -> bool:
    """Whether a text holds nothing of it. Python 3.11 matches possessive repeats wrongly; here none is needed."""
    expression = need.expression().replace("]++", "]").replace(")*+", ")*").replace(r"\z", r"\Z")
    return bool(re.search(expression.encode(), text, re.DOTALL))


class Comparison:
    """Two engines, and the proofs between them."""

    def __init__(self, folder: Path, settings: dict[str, str], edits: Sequence[Edit] = ()) -> None:
        written, loaded = render(folder, settings, edits)
        self.written, self.loaded = Engine(written), Engine(loaded)
        self.units = [unit for unit in lighten.read(written) if unit.links]
        self.proved = {unit.id: unit for unit in self.units if lighten.proofs(unit)}
        self.asked, self.matched = 0, set[int]()
        self.differences: list[str] = []

    def ask(self, request: Request) -> None:
        one, other = self.written.ask(request), self.loaded.ask(request)
        self.asked += 1
        self.matched |= set(one.rules)
        # In any order: rules are asked kind by kind.
        if (one.status, sorted(one.matches)) != (other.status, sorted(other.matches)):
            self.differences.append(
                f"{request.place} {request.text!r}: {one.status} {one.rules} as written, {other.status} {other.rules} as loaded"
            )
        self.differences += self.unproved(request, one)

    def unproved(self, request: Request, verdict: Verdict) -> Iterator[str]:
        """Matches whose rule's own proof says that they cannot be."""
        texts = {
            b"ARGS:q": request.text,
            b"ARGS:json.q": request.text,
            b"REQUEST_COOKIES:q": "",
            b"REQUEST_HEADERS:User-Agent": "",
            b"REQUEST_HEADERS:Referer": "",
        }
        for match in verdict.matches:
            number, variable = int((RULE.search(match) or [0, 0])[1]), VARIABLE.search(match)
            if request.place == "regression" or number not in self.proved or not variable:
                continue
            json_needs = (
                lighten.Need([self.proved[number]], "json").in_json() if b"ARGS" in variable[1] and request.place[:4] == "json" else None
            )
            if json_needs and excludes(json_needs, request.body):
                yield f"rule {number} matched {request.text!r}, which its proof for JSON excludes"
            if not texts.get(variable[1]):
                continue
            if excludes(lighten.Need([self.proved[number]], lighten.place_of(variable[1].decode())), texts[variable[1]].encode()):
                yield f"rule {number} matched {request.text!r}, which its proof excludes"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--values", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rules", default="/usr/share/modsecurity-crs", help="as WAF_RULES_DIR")
    parser.add_argument("--regression", type=Path, help="tests/regression/tests of a Core Rule Set")
    given = parser.parse_args()
    failed = 0
    for mode in ("DetectionOnly", "On"):
        with tempfile.TemporaryDirectory() as folder:
            comparison = Comparison(Path(folder), {"WAF_RULES_DIR": given.rules, "WAF_MODE": mode})
            generator = Generator(comparison.units, given.seed)
            for request in [*attacks(), *benign(), *(regression(given.regression) if given.regression else ())]:
                comparison.ask(request)
            fixed = comparison.asked
            # What is refused at once hides what comes after: only the fixed requests are asked in this mode too.
            for _ in range(given.values if mode == "DetectionOnly" else 0):
                comparison.ask(places(generator.value(), generator.chance))
        print(f"{mode}: {fixed} requests, {comparison.asked - fixed} generated; {len(comparison.matched)} rules matched; "
              f"differences: {len(comparison.differences)}")  # fmt: skip
        print(*comparison.differences[:20], sep="\n")
        failed += len(comparison.differences)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
