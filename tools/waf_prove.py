#!/usr/bin/env python3
"""Find the narrowest lines that let a request pass the WAF, and prove them in a container of its image.

    make waf-report REQUEST=file      file: the request as it was sent: request line, header lines, an empty line, the body

The request is sent without lines and with them; so are attacks, in the place of each of its arguments. Nothing else is asked, and the
container, which has no network, is removed.
"""

import json
import re
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode

from tools.waf_report import ADVICE, FIRST_OWN, exclusion

ROOT = Path(__file__).parents[1]
ASKED = "http://127.0.0.1:8083"  # asks the rules and answers 204 (waf/conf.d)
MATCH = re.compile(r"\[id \"(\d+)\"\].*\[unique_id \"prove-0\"\]")
VARIABLE = re.compile(r"(?:against variable `|found within )([A-Z_]+(?::[^'`\" ]*)?)")
# The sum over the rules, which is no rule to exclude.
SUM = (949110, 949111)
PASSED = 204
OURS = {"content-length", "connection", "x-request-id", "transfer-encoding"}


@dataclass(frozen=True)
class Request:
    method: str
    target: str
    headers: tuple[str, ...]
    body: str

    @classmethod
    def read(cls, text: str) -> "Request":
        head, _, body = text.replace("\r\n", "\n").partition("\n\n")
        first, *headers = head.split("\n")
        line = re.fullmatch(r"([A-Z]+) (/\S*) HTTP/[\d.]+", first.strip())
        if not line or not all(re.match(r"[\w-]+:", header) for header in headers):
            raise ValueError('it must begin as it was sent: "POST /notes HTTP/1.1", then header lines, an empty line and the body')
        kept = tuple(header for header in headers if header.partition(":")[0].lower() not in OURS)
        body = body.rstrip("\n") if not any("multipart" in header for header in kept) else body.replace("\n", "\r\n")
        return cls(line[1], line[2], kept, body)

    def variants(self, text: str) -> Iterator["Request"]:
        """The same with a text in the place of each argument."""
        path, _, query = self.target.partition("?")
        yield from (replace(self, target=f"{path}?{changed}") for changed in _in_form(query, text))
        kind = next((header.lower() for header in self.headers if header.lower().startswith("content-type:")), "")
        if "json" in kind:
            document = json.loads(self.body)
            yield from (replace(self, body=json.dumps(changed)) for changed in _in_document(document, text))
        elif "urlencoded" in kind:
            yield from (replace(self, body=changed) for changed in _in_form(self.body, text))


def _in_form(form: str, text: str) -> Iterator[str]:
    pairs = parse_qsl(form, keep_blank_values=True)
    for at, (name, _) in enumerate(pairs):
        yield urlencode([*pairs[:at], (name, text), *pairs[at + 1 :]])


def _in_document(document: Any, text: str) -> Iterator[Any]:
    if isinstance(document, dict | list):
        for key, value in document.items() if isinstance(document, dict) else enumerate(document):
            for changed in _in_document(value, text):
                yield {**document, key: changed} if isinstance(document, dict) else [*document[:key], changed, *document[key + 1 :]]
    else:
        yield text


def attacks() -> list[str]:
    """The self-test's, of the families that look at arguments."""
    rows = re.findall(r"(?m)^(?:93|94|102)\d+ +(?:query|form|json) +(.+)$", (ROOT / "waf" / "self-test.txt").read_text())
    return list(dict.fromkeys(rows))


@contextmanager
def firewall(image: str, environment: dict[str, str], lines: Iterable[str]) -> Iterator[str]:
    """A container with the rules of this folder and these lines; yields its name."""
    name = f"waf-prove-{uuid.uuid4().hex[:8]}"
    with tempfile.TemporaryDirectory() as folder:
        rules = Path(shutil.copytree(ROOT / "waf" / "rules", Path(folder) / "rules"))
        Path(folder).chmod(0o755)
        with (rules / "user-before.conf").open("a") as file:
            file.write("\n".join(["", *lines, ""]))
        settings = [part for key, value in {**environment, "WAF_MODE": "On"}.items() for part in ("--env", f"{key}={value}")]
        mount = ["--volume", f"{rules}:/etc/nginx/rules:ro"]
        _docker("run", "--detach", "--no-healthcheck", "--name", name, "--network", "none", *mount, *settings, image)
        try:
            _docker(
                "exec", name, "sh", "-c", "for _ in $(seq 50); do curl -sf 127.0.0.1:8081/nginx-health && exit; sleep 0.2; done; exit 1"
            )
            yield name
        finally:
            _docker("rm", "--force", "--volumes", name)


def ask(container: str, requests: Sequence[Request]) -> tuple[list[int], list[tuple[int, str]]]:
    """Their answers, and by which rules the first one was matched, in which variables."""
    parts = []
    for number, request in enumerate(requests):
        options = {"url": ASKED + request.target, "request": request.method, "output": "/dev/null", "write-out": "%{http_code}\\n"}
        if request.body:
            options["data-raw"] = request.body
        headers = [*request.headers, "Expect:", f"X-Request-ID: prove-{number}"]
        parts.append(
            "\n".join([*(f"{key} = {_quoted(value)}" for key, value in options.items()), *(f"header = {_quoted(one)}" for one in headers)])
        )
    _docker("exec", container, "sh", "-c", ": >/run/nginx/self-test.log")
    statuses = _docker(
        "exec", "-i", container, "curl", "-s", "--globoff", "--path-as-is", "--config", "-", given="\nnext\n".join(parts)
    ).split()
    log = _docker("exec", container, "cat", "/run/nginx/self-test.log")
    lines = [(int(found[1]), VARIABLE.search(line)) for line in log.splitlines() if (found := MATCH.search(line))]
    matched = [(rule, variable[1].rstrip(":") if variable else "") for rule, variable in lines if rule not in SUM]
    return [int(status) for status in statuses], list(dict.fromkeys(matched))


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t") + '"'


def _docker(*command: str, given: str | None = None) -> str:
    done = subprocess.run(["docker", *command], input=given, capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"docker {command[0]}: {done.stderr.strip()}")
    return done.stdout


def prove(request: Request, image: str, environment: dict[str, str]) -> Iterator[str]:
    """What to print; raises LookupError where no line helps."""
    texts = attacks()
    others = [(text, one) for text in texts for one in request.variants(text)]
    with firewall(image, environment, []) as container:
        (status, *before), matched = ask(container, [request, *(one for _, one in others)])
    if status == PASSED:
        yield "It passes as it is."
        return
    yield f"It is refused ({status}) by " + ", ".join(f"rule {rule} ({variable})" for rule, variable in matched)
    if advice := [ADVICE[rule] for rule, _ in matched if rule in ADVICE]:
        raise LookupError(f"this is no exclusion: {advice[0]}")
    # The argument alone; its collection; the whole rule.
    wanted = dict.fromkeys(matched)
    for _ in range(3):
        path = request.target.partition("?")[0]
        lines = [exclusion(rule, path, variable, FIRST_OWN + number) for number, (rule, variable) in enumerate(wanted)]
        with firewall(image, environment, lines) as container:
            (status, *after), matched = ask(container, [request, *(one for _, one in others)])
        if status == PASSED:
            break
        for rule, variable in matched:
            known = [name for number, name in wanted if number == rule and name.startswith(variable.partition(":")[0])]
            wanted.pop((rule, variable), None)
            wanted[rule, variable if not known else variable.partition(":")[0] if ":" in known[-1] else ""] = None
    else:
        raise LookupError("no line lets it pass")
    yield "With these lines (waf/rules/user-before.conf) it passes:"
    yield from (f"    {line}" for line in lines)
    lost = [text for (text, _), was, now in zip(others, before, after, strict=True) if was != PASSED and now == PASSED]
    yield f"Of {sum(was != PASSED for was in before)} attacks in its arguments that were refused, {len(lost)} pass with them:"
    yield from (f"    {text}" for text in dict.fromkeys(lost))


def main(arguments: Sequence[str]) -> int:
    """FILE [IMAGE]: the image of the project's service waf, with its settings, unless one is named."""
    try:
        request = Request.read(Path(arguments[0]).read_text())
        image, environment = arguments[1] if arguments[1:] else "", {}
        if not image:
            waf = json.loads(_docker("compose", "config", "--format", "json"))["services"]["waf"]
            image, environment = waf["image"], {key: value for key, value in waf["environment"].items() if value}
        for line in prove(request, image, environment):
            print(line, flush=True)
    except (OSError, ValueError, LookupError, KeyError) as error:
        print(f"waf-report: {error}", file=sys.stderr)
        return 2 if not isinstance(error, LookupError) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
