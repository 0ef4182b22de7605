#!/usr/bin/env python3
"""List by rule what the WAF refused, or would have refused, with the line that would exclude it.

    docker compose logs --no-log-prefix waf | tools/waf_report.py      or      tools/waf_report.py FILE...

Reads the log of the service waf: the lines of audit.jq; everything else is passed over.
Python's own library only: it reads a log wherever that was saved.
"""

import json
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

MARK = '{"waf":"'
# Rules of the kit whose answer is a setting or another request, not an exclusion (base.conf).
ADVICE = {
    10100: "the client must send a Content-Type with its body",
    10301: "the client must send a plain parameter of Content-Type",
    10302: "the client must name the file otherwise",
    10101: "name the type in WAF_CONTENT_TYPES, if the application takes it",
    10102: "the client must not compress the body",
    10110: "raise WAF_BODY_LIMIT, or exclude 10110 for its address (docs/waf.md)",
    10111: "the client must send fewer cookies",
    10112: "the client must send fewer arguments in the query",
    10131: "the client must not send hundreds of special characters in a row",
    200002: "the body is not what its Content-Type says",
    200003: "the multipart body is malformed",
    200004: "the multipart body is malformed",
    200007: "raise WAF_VALUES, or exclude 200007 for its address (docs/waf.md)",
    200008: "the client must send fewer values",
    911100: "name the method in WAF_METHODS, if the application takes it",
}
# The first number of a user's own rules in user-before.conf.
FIRST_OWN = 1000
EXAMPLES = 3


@dataclass(slots=True)
class Rule:
    """What one rule did: how often, at which addresses, in which arguments."""

    message: str = ""
    refused: int = 0
    places: Counter[tuple[str, str, str]] = field(default_factory=Counter)  # method, path, variable


def read(lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    """The WAF's lines; what is cut off or no JSON is passed over."""
    for line in lines:
        start = line.find(MARK)
        if start < 0:
            continue
        try:
            found = json.loads(line[start:])
        except ValueError:
            continue
        if isinstance(found.get("rules"), list):
            yield found


def count(refusals: Iterable[dict[str, Any]]) -> tuple[dict[int, Rule], Counter[str]]:
    """Sum up by rule, and count what became of the requests."""
    rules: dict[int, Rule] = defaultdict(Rule)
    outcomes: Counter[str] = Counter()
    for refusal in refusals:
        outcomes[str(refusal["waf"])] += 1
        path = str(refusal.get("uri", "")).partition("?")[0]
        for hit in refusal["rules"]:
            rule = rules[int(hit["id"])]
            rule.message = str(hit["message"])
            rule.refused += 1
            rule.places[str(refusal.get("method", "")), path, str(hit.get("variable", ""))] += 1
    return rules, outcomes


def exclusion(rule: int, path: str, variable: str, number: int) -> str:
    """The line for user-before.conf that takes one argument at one address out of one rule."""
    # A name that was not kept (…, it may be a piece of a body), or that cannot be written here: all of its kind. A variable of the
    # rules' own (TX) is none of the request. The end of a chain (MATCHED_VARS) names what its beginning looked at.
    variable = variable.removeprefix("MATCHED_VARS:")
    target = variable if re.fullmatch(r"[\w.:/-]+", variable) else variable.partition(":")[0]
    narrow = target and not target.startswith(("TX", "MATCHED"))
    action = f"ctl:ruleRemoveTargetById={rule};{target}" if narrow else f"ctl:ruleRemoveById={rule}"
    plain = "".join(letter for letter in path if letter.isalnum() or letter in "/._~-") == path
    where = f'SecRule REQUEST_FILENAME "@streq {path}"' if plain and path else 'SecRule REQUEST_FILENAME "@beginsWith /"'
    return f'{where} "id:{number},phase:1,pass,nolog,{action}"'


def report(rules: dict[int, Rule], outcomes: Counter[str]) -> Iterator[str]:
    """The lines to print, the most frequent rule first."""
    if not outcomes:
        yield "The WAF has refused nothing in this log."
        return
    yield ", ".join(f"{number} requests {outcome}" for outcome, number in outcomes.most_common()).replace("would refuse", "it would refuse")
    number = FIRST_OWN
    for identifier, rule in sorted(rules.items(), key=lambda item: -item[1].refused):
        yield f"\nrule {identifier}: {rule.refused} times: {rule.message}"
        for (method, path, variable), times in rule.places.most_common(EXAMPLES):
            yield f"  {times:6} x  {method} {path}  {variable}"
        if identifier in ADVICE:
            yield f"  to let it pass: {ADVICE[identifier]}"
            continue
        yield "  to let it pass, if these were ordinary requests (waf/rules/user-before.conf):"
        for _, path, variable in list(rule.places)[:EXAMPLES]:
            yield f"    {exclusion(identifier, path, variable, number)}"
            number += 1


def main(arguments: list[str]) -> int:
    """Print the report; 2 when a file cannot be read."""
    try:
        texts = [Path(name).read_text(errors="replace").splitlines() for name in arguments]
    except OSError as error:
        print(f"waf-report: cannot read {error.filename}: {error.strerror}", file=sys.stderr)
        return 2
    lines = (line for text in texts for line in text) if arguments else sys.stdin
    print("\n".join(report(*count(read(lines)))))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
