"""The firewall's place: what it answers, what passes beside it, what it writes, and how it is tuned."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.clients import wait_until
from tests.gateways import Gateways
from tests.nginx.backends import RawBackend
from tests.nginx.gateway import ROOT, Gateway, check as render
from tests.waf.conftest import audited
from tests.waf.corpus import BOUNDARY, multipart
from tools.local.nginx import Edit

ATTACK = "/?q=%3Cscript%3Ealert(1)%3C/script%3E"
FORM_DATA = f"Content-Type: multipart/form-data; boundary={BOUNDARY}"
PICTURE = ("photo.png", "image/png", b"\x89PNG" + bytes(range(256)) * 1000)
# Honest, and refused: what the tuning loop is for.
HONEST = b"message=if+(x+%3E+0+%26%26+y+%3C+10)+%7B+return+x+*+y%3B+%7D"
REPORT = ROOT / "nginx" / "waf" / "report.py"


def arrived(backend: RawBackend, target: str) -> list[str]:
    return [seen.method for seen in backend.seen if seen.target == target]


# --- What it answers


def test_refusal_is_a_page_with_the_request_id_and_nothing_of_the_rule(gateway: Gateway) -> None:
    answer = gateway.get(ATTACK, "X-Request-ID: refused-as-page", "Accept: text/html")

    assert (answer.status, answer.values("content-type")) == (403, ["text/html; charset=utf-8"])
    assert b"refused-as-page" in answer.body
    assert not re.search(rb"(?i)modsecurity|rule|xss|owasp|9\d{5}", answer.body)
    assert answer.values("x-kit-waf") == []


# Met in a soak: a signature that begins like the name of a file.
SIGNATURE = "eyJjc3JmX3Rva2VuIjoiMzJjNDZlOGIifQ.awJshQ.nsRtAhEoAv1ibSRBYlwB_TAkths"
SIGNED = [
    ("Cookie: a=b", f"csrf_token={SIGNATURE}&name=Ann"),
    (f"Cookie: session={SIGNATURE}", "name=Ann"),
    (f"Cookie: __Host-session={SIGNATURE}", "name=Ann"),
]


def sign(gateway: Gateway, cookie: str, body: str) -> int:
    return gateway.request("POST", "/entries", cookie, "Content-Type: application/x-www-form-urlencoded", body=body.encode()).status


@pytest.mark.parametrize(("cookie", "body"), SIGNED)
def test_random_letters_of_a_signed_token_are_no_name_of_a_file(gateway: Gateway, cookie: str, body: str) -> None:
    assert sign(gateway, cookie, body) == 200
    assert sign(gateway, "Cookie: a=b", f"name={SIGNATURE}") == 403


@pytest.mark.parametrize(("cookie", "body"), SIGNED)
def test_they_would_be_without_the_exclusion(shared_gateways: Gateways, backend: RawBackend, cookie: str, body: str) -> None:
    """The twin."""
    gateway = shared_gateways(backend.address, edits=[Edit("waf/exclusions.conf", r"(?m)^SecRuleUpdateTargetById 930120 .*$", "")])

    assert sign(gateway, cookie, body) == 403


@pytest.mark.parametrize(
    ("status", "headers", "body"),
    [
        (403, ["Content-Type: application/json"], b'{"a": "<script>alert(1)</script>"}'),
        (403, ["Content-Type: application/merge-patch+json; charset=utf-8"], b'{"a": "<script>alert(1)</script>"}'),
        (400, ["Content-Type: application/json"], b'{"a": '),
        (400, ["Content-Type: application/json"], json.dumps({str(n): n for n in range(1100)}).encode()),
        (400, ["Content-Type: application/json"], b"[" * 40 + b"]" * 40),
        (413, ["Content-Type: application/json"], json.dumps("x" * 140_000).encode()),
        (415, ["Content-Type: text/plain"], b'{"a": 1}'),
        (415, ["Content-Type: application/octet-stream"], b"\0"),
        (415, ["Content-Type: application/jsonx"], b"{}"),
        (415, ["Content-Type: application/xml"], b"<a/>"),
        (415, ["Content-Type: application/json", "Content-Encoding: gzip"], b"\x1f\x8b"),
    ],
)
def test_refusal_under_api_is_a_problem(gateway: Gateway, backend: RawBackend, status: int, headers: list[str], body: bytes) -> None:
    before = len(backend.seen)
    answer = gateway.request("POST", "/api/v1/entries", "X-Request-ID: refused-as-json", *headers, body=body)

    assert (answer.status, answer.values("content-type")) == (status, ["application/problem+json"])
    assert (answer.json()["status"], answer.json()["request_id"]) == (status, "refused-as-json")
    assert len(backend.seen) == before


def test_body_without_a_type_is_refused(gateway: Gateway) -> None:
    request = b"POST /api/v1/entries HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}"

    assert gateway.send(request).status == 415


@pytest.mark.parametrize(("values", "status"), [(949, 200), (950, 400)])
def test_values_are_counted(gateway: Gateway, values: int, status: int) -> None:
    body = json.dumps({str(number): number for number in range(values)}).encode()

    assert gateway.request("POST", "/", "Content-Type: application/json", body=body).status == status


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
def test_empty_body_needs_no_type(gateway: Gateway, method: str) -> None:
    assert gateway.request(method, "/").status == 200


def test_log_tells_a_refusal_from_an_answer_of_the_app(gateway: Gateway, backend: RawBackend) -> None:
    gateway.get(ATTACK, "X-Request-ID: log-of-a-refusal")
    gateway.get("/", "X-Request-ID: log-of-an-answer")
    refused, passed = gateway.logged("log-of-a-refusal"), gateway.logged("log-of-an-answer")

    assert (refused["waf"], refused["upstream"], refused["status"]) == ("refused", "", 403)
    assert (float(passed["waf"]) >= 0, passed["upstream"], passed["upstream_status"]) == (True, backend.address, "200")
    assert (refused["client"], refused["peer"]) == ("127.0.0.1", "127.0.0.1")


# --- What passes beside it


def test_large_upload_passes_uninspected_but_for_its_head(gateway: Gateway, backend: RawBackend) -> None:
    body = multipart({"title": "Garden"}, PICTURE)

    assert gateway.request("POST", "/upload-1", FORM_DATA, body=body).status == 200
    assert backend.seen[-1].body == body
    for head in (["Cookie: a=%3Cscript%3Ealert(1)%3C/script%3E"], ["Referer: x' UNION SELECT password FROM users--"]):
        assert gateway.request("POST", "/upload-2", FORM_DATA, *head, body=body).status == 403
    assert gateway.request("POST", f"/upload-3{ATTACK[1:]}", FORM_DATA, body=body).status == 403
    assert arrived(backend, "/upload-2") == []


def test_large_upload_in_chunks_passes_too(gateway: Gateway, backend: RawBackend) -> None:
    body = multipart({"title": "Garden"}, PICTURE)
    chunks = f"{len(body):x}\r\n".encode() + body + b"\r\n0\r\n\r\n"
    head = f"POST /upload-4 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n{FORM_DATA}\r\n\r\n"

    assert gateway.send(head.encode() + chunks).status == 200
    assert backend.seen[-1].body == body


def test_small_upload_is_inspected(gateway: Gateway) -> None:
    body = multipart({"title": "<script>alert(1)</script>"}, ("a.txt", "text/plain", b"hello"))

    assert gateway.request("POST", "/upload-5", FORM_DATA, body=body).status == 403


def test_named_type_without_a_parser_passes_and_is_an_upload_when_large(shared_gateways: Gateways, backend: RawBackend) -> None:
    gateway = shared_gateways(backend.address, {"WAF_CONTENT_TYPES": "application/json text/csv"})
    kind = "Content-Type: text/csv"

    assert gateway.request("PUT", "/table", kind, body=b"a,b\r\n1,2\r\n").status == 200
    assert gateway.request("PUT", "/table", kind, body=b"a,b\r\n" * 40_000).status == 200
    assert gateway.request("PUT", f"/table{ATTACK[1:]}", kind, body=b"a,b\r\n" * 40_000).status == 403
    assert gateway.request("PUT", "/table", FORM_DATA, body=multipart({"a": "b"})).status == 415


def test_health_and_static_files_are_not_inspected(gateway: Gateway) -> None:
    (gateway.folder / "static" / "app.css").write_text("body{}")
    for number, path in enumerate(("/healthz", "/static/app.css")):
        assert gateway.get(f"{path}{ATTACK[1:]}", f"X-Request-ID: outside-{number}").status == 200
    assert gateway.get(f"/healthz/more{ATTACK[1:]}").status == 403
    assert not {"outside-0", "outside-1"} & audited(gateway).keys()


def test_request_that_is_too_many_costs_the_firewall_nothing(shared_gateways: Gateways, backend: RawBackend) -> None:
    """What is over the budget never reaches the second block: no audit line, no hop."""
    # So slowly that no machine is slow enough to stay below it; the burst of 40 passes.
    gateway = shared_gateways(backend.address, {"LIMITS": "on"}, edits=[Edit("conf.d/30-limits.conf", r"rate=20r/s", "rate=1r/m")])
    statuses = {f"flood-{number:03}": gateway.get(ATTACK, f"X-Request-ID: flood-{number:03}").status for number in range(60)}
    lines = audited(gateway)

    assert {429, 403} == set(statuses.values())
    assert {name for name, status in statuses.items() if status == 403} == {name for name in lines if name.startswith("flood-")}
    too_many = next(name for name, status in statuses.items() if status == 429)
    assert (gateway.logged(too_many)["waf"], gateway.logged(too_many)["upstream_response_s"]) == ("", "")


# --- What it writes


def printed(gateway: Gateway) -> list[dict[str, Any]]:
    """The lines that nginx/start puts into the log."""
    command = ["jq", "-n", "-R", "-c", "-f", str(ROOT / "nginx" / "waf" / "audit.jq"), str(gateway.folder / "run" / "waf-audit")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_audit_line_has_rules_and_score_and_nothing_secret(gateway: Gateway) -> None:
    secrets = ["hunter2-body", "hunter2-cookie", "hunter2-bearer", "hunter2-name"]
    body = b"password=hunter2-body%3Cscript%3Ealert(1)%3C/script%3E&%3Cscript%3Ehunter2-name=1"
    headers = ["Cookie: session=hunter2-cookie'+UNION+SELECT+1--", "Authorization: Bearer hunter2-bearer", "X-Request-ID: audit-line"]
    assert gateway.request("POST", "/login", *headers, body=body).status == 403
    (line,) = [line for line in printed(gateway) if line["request_id"] == "audit-line"]

    assert not [secret for secret in secrets if secret in json.dumps(line)]
    assert (line["waf"], line["status"], line["client"], line["uri"]) == ("refused", 403, "127.0.0.1", "/login")
    assert line["score"] >= 5
    assert {941100} <= {rule["id"] for rule in line["rules"]}
    # Names with signs are looked at together (waf/merge.awk), and last.
    assert "TX:kit_names" in {rule["variable"] for rule in line["rules"]}


def test_audit_line_names_the_value(gateway: Gateway) -> None:
    gateway.request("POST", "/login", "X-Request-ID: value-line", body=b"password=%3Cscript%3Ealert(1)%3C/script%3E")
    (line,) = [line for line in printed(gateway) if line["request_id"] == "value-line"]

    assert "ARGS:password" in {rule["variable"] for rule in line["rules"]}


def test_refusal_of_a_parser_is_counted_too(gateway: Gateway) -> None:
    gateway.request("POST", "/api/v1/entries", "Content-Type: application/json", "X-Request-ID: parser-line", body=b"{")
    (line,) = [line for line in printed(gateway) if line["request_id"] == "parser-line"]

    assert (line["status"], [rule["id"] for rule in line["rules"]]) == (400, [200002])


@pytest.mark.stack_env(LAB_ENABLED="1")
def test_container_log_has_one_line_for_a_refusal(client: httpx.Client, stack: Any) -> None:
    assert client.get(ATTACK, headers={"X-Request-ID": "refused-in-a-stack"}).status_code == 403

    def found() -> list[str]:
        return [line for line in stack.logs("gateway").splitlines() if '{"waf":' in line and "refused-in-a-stack" in line]

    (line,) = wait_until(found, "the line is in the log")
    assert json.loads(line[line.index("{") :])["score"] >= 5


# --- Modes, and the way from one to the other


def test_detection_only_lets_pass_and_says_so(shared_gateways: Gateways, backend: RawBackend) -> None:
    gateway = shared_gateways(backend.address, {"WAF_MODE": "DetectionOnly"})

    assert gateway.get(ATTACK, "X-Request-ID: only-detected").status == 200
    assert gateway.request("POST", "/x", "Content-Type: text/plain", "X-Request-ID: only-typed", body=b"x").status == 200
    lines = wait_until(lambda: [line for line in printed(gateway) if line["request_id"].startswith("only-")][1:], "both are written")
    assert {line["waf"] for line in lines} == {"would refuse"}


def test_tuning_loop(shared_gateways: Gateways, start_gateway: Gateways, backend: RawBackend, tmp_path: Path) -> None:
    """From DetectionOnly to On: look, take the report's lines, and what is honest passes while attacks do not."""
    watching = shared_gateways(backend.address, {"WAF_MODE": "DetectionOnly"})
    assert watching.request("POST", "/notes", "X-Request-ID: tuning-1", body=HONEST).status == 200
    seen = wait_until(lambda: [line for line in printed(watching) if line["request_id"] == "tuning-1"], "it is written")
    (tmp_path / "gateway.log").write_text("".join(f"gateway-1  | {json.dumps(line, separators=(',', ':'))}\n" for line in seen))
    report = subprocess.run([sys.executable, str(REPORT), str(tmp_path / "gateway.log")], capture_output=True, text=True, check=True)
    lines = re.findall(r"^ +(SecRule .*)$", report.stdout, re.MULTILINE)
    assert lines, report.stdout

    before = start_gateway(backend.address)
    after = start_gateway(
        backend.address, edits=[Edit("waf/user-before.conf", r"\Z", "\n" + "\n".join(lines).replace("\\", "\\\\") + "\n")]
    )

    assert before.request("POST", "/notes", body=HONEST).status == 403
    assert after.request("POST", "/notes", body=HONEST).status == 200
    assert after.request("POST", "/notes", body=b"message=%3Cscript%3Ealert(1)%3C/script%3E").status == 403


def test_threshold_and_paranoia_decide(shared_gateways: Gateways, backend: RawBackend) -> None:
    strict = shared_gateways(backend.address, {"WAF_PARANOIA": "4"})
    lax = shared_gateways(backend.address, {"WAF_ANOMALY_THRESHOLD": "1000"})

    assert strict.request("POST", "/", body=b"message=caf%C3%A9+%26+bar%21%3B--").status == 403
    assert lax.get(ATTACK).status == 200


def test_sampling_inspects_a_part(shared_gateways: Gateways, backend: RawBackend) -> None:
    gateway = shared_gateways(backend.address, {"WAF_SAMPLING": "50"})
    statuses = [gateway.get(ATTACK).status for _ in range(60)]

    assert 5 < statuses.count(403) < 55


def test_method_that_is_not_named_is_refused(shared_gateways: Gateways, backend: RawBackend) -> None:
    gateway = shared_gateways(backend.address, {"WAF_METHODS": "GET HEAD POST"})

    assert gateway.request("DELETE", "/").status == 403
    assert gateway.get("/").status == 200


# --- Bad input


def settings(folder: Path, **given: str) -> dict[str, str]:
    places = {"STATIC_ROOT": "/srv/static", "NGINX_PREFIX": str(folder / "prefix"), "UPSTREAM_SERVERS": "127.0.0.1:8000"}
    return {"NGINX_RUNTIME": "local", **places, **given}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("WAF_MODE", "on"),
        ("WAF_MODE", "Maybe"),
        ("WAF_PARANOIA", "0"),
        ("WAF_PARANOIA", "5"),
        ("WAF_PARANOIA", "two"),
        ("WAF_ANOMALY_THRESHOLD", "0"),
        ("WAF_ANOMALY_THRESHOLD", "1001"),
        ("WAF_SAMPLING", "0"),
        ("WAF_SAMPLING", "101"),
        ("WAF_METHODS", "GET,POST"),
        ("WAF_METHODS", "get"),
        ("WAF_METHODS", " "),
        ("WAF_CONTENT_TYPES", "*/*"),
        ("WAF_CONTENT_TYPES", "json"),
        ("WAF_CONTENT_TYPES", "application/json, text/csv"),
        ("WAF_CONTENT_TYPES", 'a/b" "id:1'),
        ("WAF_RULES_DIR", "rules"),
        ("HEALTH_PATH", "healthz"),
        ("HEALTH_PATH", '/a" 1; #'),
    ],
)
def test_wrong_setting_is_named(tmp_path: Path, name: str, value: str) -> None:
    done = render(tmp_path / "conf", settings(tmp_path, **{name: value}))

    assert done.returncode == 2
    assert f"{name}" in done.stderr.splitlines()[0]
    assert not (tmp_path / "conf").exists()


def test_folder_without_rules_is_refused(gateway: Gateway, tmp_path: Path) -> None:
    assert gateway
    missing = render(tmp_path / "a", settings(tmp_path, WAF_RULES_DIR=str(tmp_path / "none")))
    (tmp_path / "empty").mkdir()
    empty = render(tmp_path / "b", settings(tmp_path, WAF_RULES_DIR=str(tmp_path / "empty")))

    assert (missing.returncode, empty.returncode) == (2, 2)
    assert "there is no such folder" in missing.stderr
    assert "no rule set" in empty.stderr


@pytest.mark.parametrize("generation", ["3", "4"])
def test_both_generations_are_understood(tmp_path: Path, generation: str) -> None:
    """A release as it is unpacked: its rules lie in rules/."""
    rules = tmp_path / "coreruleset" / "rules"
    rules.mkdir(parents=True)
    for name in ("REQUEST-901-INITIALIZATION.conf", "REQUEST-942-APPLICATION-ATTACK-SQLI.conf", "REQUEST-949-BLOCKING-EVALUATION.conf"):
        (rules / name).write_text(f"SecAction \"id:1,phase:1,pass,ver:'OWASP_CRS/{generation}.1.0'\"\n")
    done = render(
        tmp_path / "conf",
        settings(tmp_path, NGINX_RUNTIME="compose", NGINX_VERSION="1.30.6", WAF_RULES_DIR=str(rules.parent), RESOLVER="127.0.0.11"),
    )
    setup = (tmp_path / "conf" / "waf" / "setup.conf").read_text()

    assert done.returncode == 0, done.stderr
    assert f"tx.crs_setup_version={generation}" in setup
    assert f"{rules}/REQUEST-942" in (tmp_path / "conf" / "waf" / "main.conf").read_text()


def test_machine_without_the_module_says_so(tmp_path: Path) -> None:
    without = settings(tmp_path, NGINX_VERSION="1.22.1", NGINX_MODULES_DIR="/none")
    by_itself = render(tmp_path / "a", without)
    by_hand = render(tmp_path / "b", {**without, "WAF_MODE": "On"})

    assert (by_itself.returncode, by_hand.returncode) == (0, 2)
    assert "there is NO web application firewall" in by_itself.stderr
    assert "WAF_MODE=On" in by_hand.stderr
    assert "modsecurity on" not in "".join(path.read_text() for path in (tmp_path / "a").rglob("*.conf"))


def test_broken_exclusion_is_named_with_file_and_line(start_gateway: Gateways, gateway: Gateway, backend: RawBackend) -> None:
    """Nginx does not start, and a running one would keep its rules: nothing is lost."""
    assert gateway.get("/").status == 200
    with pytest.raises(AssertionError, match=r"user-before\.conf\. Line: 6"):
        start_gateway(
            backend.address,
            edits=[Edit("waf/user-before.conf", r"\A(?s:.*)\Z", "# one\n# two\n# three\n# four\n# five\nSecRool ARGS\n")],
        )


# --- The report


def report(text: str, tmp_path: Path) -> str:
    (tmp_path / "log").write_text(text)
    return subprocess.run([sys.executable, str(REPORT), str(tmp_path / "log")], capture_output=True, text=True, check=True).stdout


def test_report_of_a_quiet_log(tmp_path: Path) -> None:
    assert "refused nothing" in report('{"time":"x"}\n{"waf":"cut of', tmp_path)


def test_report_advises_a_setting_where_that_is_the_answer(tmp_path: Path) -> None:
    line = {"waf": "refused", "method": "PUT", "uri": "/table", "rules": [{"id": 10101, "message": "type", "variable": ""}]}

    assert "WAF_CONTENT_TYPES" in report(json.dumps(line, separators=(",", ":")), tmp_path)


def test_report_names_a_file_that_is_not_there(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, str(REPORT), str(tmp_path / "none")], capture_output=True, text=True, check=False)

    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
