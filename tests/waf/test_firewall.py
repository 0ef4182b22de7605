"""The WAF between gateway and app: what it answers, what passes uninspected, what it logs, and how it is tuned."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.clients import wait_until
from tests.nginx.backends import RawBackend
from tests.nginx.gateway import ROOT, ask
from tests.sites import Sites
from tests.waf.conftest import printed
from tests.waf.corpus import BOUNDARY, multipart
from tests.waf.cost import ONE_WORKER, worker_of
from tests.waf.site import Site, check
from tools.local import waf
from tools.local.nginx import Edit, Nginx

ATTACK = "/?q=%3Cscript%3Ealert(1)%3C/script%3E"
FORM_DATA = f"Content-Type: multipart/form-data; boundary={BOUNDARY}"
PICTURE = ("photo.png", "image/png", b"\x89PNG" + bytes(range(256)) * 1000)
# Honest, and refused: what the tuning loop is for.
HONEST = b"message=if+(x+%3E+0+%26%26+y+%3C+10)+%7B+return+x+*+y%3B+%7D"
REPORT = ROOT / "tools" / "waf_report.py"


def arrived(backend: RawBackend, target: str) -> list[str]:
    return [seen.method for seen in backend.seen if seen.target == target]


# --- What it answers


def test_refusal_is_a_page_with_the_request_id_and_nothing_of_the_rule(site: Site) -> None:
    answer = site.get(ATTACK, "X-Request-ID: refused-as-page", "Accept: text/html")

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


def sign(site: Site, cookie: str, body: str) -> int:
    return site.request("POST", "/entries", cookie, "Content-Type: application/x-www-form-urlencoded", body=body.encode()).status


@pytest.mark.parametrize(("cookie", "body"), SIGNED)
def test_random_letters_of_a_signed_token_are_no_name_of_a_file(site: Site, cookie: str, body: str) -> None:
    assert sign(site, cookie, body) == 200
    assert sign(site, "Cookie: a=b", f"name={SIGNATURE}") == 403


@pytest.mark.parametrize(("cookie", "body"), SIGNED)
def test_they_would_be_without_the_exclusion(shared_sites: Sites, backend: RawBackend, cookie: str, body: str) -> None:
    """The twin."""
    site = shared_sites(backend.address, edits=[Edit("rules/exclusions.conf", r"(?m)^SecRuleUpdateTargetById 930120 .*$", "")])

    assert sign(site, cookie, body) == 403


@pytest.mark.parametrize(
    ("status", "headers", "body"),
    [
        (403, ["Content-Type: application/json"], b'{"a": "<script>alert(1)</script>"}'),
        (403, ["Content-Type: application/merge-patch+json; charset=utf-8"], b'{"a": "<script>alert(1)</script>"}'),
        (400, ["Content-Type: application/json"], b'{"a": '),
        (422, ["Content-Type: application/json"], json.dumps({str(n): n for n in range(10_100)}).encode()),
        (400, ["Content-Type: application/json"], b"[" * 40 + b"]" * 40),
        (413, ["Content-Type: application/json"], json.dumps("x" * 1_100_000).encode()),
        (403, ["Content-Type: text/plain"], b'{"a": "<script>alert(1)</script>"}'),
        (415, ["Content-Type: image/svg+xml"], b"<svg/>"),
        (415, ["Content-Type: application/jsonx"], b"{}"),
        (415, ["Content-Type: application/xml"], b"<a/>"),
        (415, ["Content-Type: application/json", "Content-Encoding: gzip"], b"\x1f\x8b"),
    ],
)
def test_refusal_under_api_is_a_problem(site: Site, backend: RawBackend, status: int, headers: list[str], body: bytes) -> None:
    before = len(backend.seen)
    answer = site.request("POST", "/api/v1/entries", "X-Request-ID: refused-as-json", *headers, body=body)

    assert (answer.status, answer.values("content-type")) == (status, ["application/problem+json"])
    assert (answer.json()["status"], answer.json()["request_id"]) == (status, "refused-as-json")
    assert len(backend.seen) == before


def test_a_header_is_looked_at_when_all_of_them_together_have_something(site: Site) -> None:
    """lighten.py and rule 10129 ask about headers in one text first."""
    for value, status in (("-" * 300, 400), ("../../../../etc/passwd", 403), ("-" * 100, 200)):
        assert site.get("/", f"X-Note: {value}").status == status
    assert site.get("/", f"X-Note: {'-' * 200}", f"X-Other: {'-' * 200}").status == 200


def test_body_without_a_type_is_refused(site: Site) -> None:
    request = b"POST /api/v1/entries HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}"

    assert site.send(request).status == 415


@pytest.mark.parametrize(("arguments", "status"), [(10_000, 200), (10_001, 422)])
def test_arguments_are_counted(site: Site, arguments: int, status: int) -> None:
    body = json.dumps({str(number): number for number in range(arguments)}).encode()

    assert site.request("POST", "/", "Content-Type: application/json", body=body).status == status


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
def test_empty_body_needs_no_type(site: Site, method: str) -> None:
    assert site.request(method, "/").status == 200


def test_log_tells_a_refusal_from_an_answer_of_the_app(site: Site, backend: RawBackend) -> None:
    site.get(ATTACK, "X-Request-ID: log-of-a-refusal")
    site.get("/", "X-Request-ID: log-of-an-answer")
    refused, passed = site.logged("log-of-a-refusal"), site.logged("log-of-an-answer")

    assert (refused["waf"], refused["upstream"], refused["status"]) == ("refused", "", 403)
    assert (float(passed["waf"]) >= 0, passed["upstream"], passed["upstream_status"]) == (True, backend.address, "200")
    assert (refused["client"], refused["peer"]) == ("127.0.0.1", "127.0.0.1")


# --- What passes uninspected


def test_large_upload_passes_uninspected_but_for_its_head(site: Site, backend: RawBackend) -> None:
    body = multipart({"title": "Garden"}, PICTURE)

    assert site.request("POST", "/upload-1", FORM_DATA, body=body).status == 200
    assert backend.seen[-1].body == body
    for head in (["Cookie: a=%3Cscript%3Ealert(1)%3C/script%3E"], ["Referer: x' UNION SELECT password FROM users--"]):
        assert site.request("POST", "/upload-2", FORM_DATA, *head, body=body).status == 403
    assert site.request("POST", f"/upload-3{ATTACK[1:]}", FORM_DATA, body=body).status == 403
    assert arrived(backend, "/upload-2") == []


def test_large_upload_in_chunks_passes_too(site: Site, backend: RawBackend) -> None:
    body = multipart({"title": "Garden"}, PICTURE)
    chunks = f"{len(body):x}\r\n".encode() + body + b"\r\n0\r\n\r\n"
    head = f"POST /upload-4 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n{FORM_DATA}\r\n\r\n"

    assert site.send(head.encode() + chunks).status == 200
    assert backend.seen[-1].body == body


def test_small_upload_is_inspected(site: Site) -> None:
    body = multipart({"title": "<script>alert(1)</script>"}, ("a.txt", "text/plain", b"hello"))

    assert site.request("POST", "/upload-5", FORM_DATA, body=body).status == 403


def test_type_without_a_parser_passes_and_is_an_upload_when_large(shared_sites: Sites, backend: RawBackend) -> None:
    site = shared_sites(backend.address, {"WAF_CONTENT_TYPES": "application/json text/csv"})
    attack = b"a,<script>alert(1)</script>\r\n"
    kind = "Content-Type: text/csv"

    assert site.request("PUT", "/table", kind, body=b"a,b\r\n1,2\r\n").status == 200
    assert site.request("PUT", "/table", kind, body=attack).status == 403
    assert site.request("PUT", "/table", kind, body=attack * 40_000).status == 200
    assert site.request("PUT", f"/table{ATTACK[1:]}", kind, body=attack * 40_000).status == 403
    assert site.request("PUT", "/table", FORM_DATA, body=multipart({"a": "b"})).status == 415


def test_static_files_are_served_while_the_waf_is_frozen(start_site: Sites, backend: RawBackend) -> None:
    """An inspection holds up nobody at the gateway, however long it takes."""
    site = start_site(backend.address, ONE_WORKER)
    (site.folder / "static" / "app.css").write_text("body{}")
    assert site.get("/").status == 200
    worker = worker_of(site.waf)
    worker.suspend()
    try:
        assert site.get("/static/app.css").status == 200
    finally:
        worker.resume()
    assert site.get("/").status == 200


def test_attack_in_a_name_is_found(site: Site) -> None:
    for name in ("<script>alert(1)</script>", "1' OR '1'='1", "user[$ne]"):
        assert site.request("POST", "/", "Content-Type: application/json", body=json.dumps({name: "b"}).encode()).status == 403


def test_attack_among_many_arguments_is_found(site: Site) -> None:
    many = {f"field_{number}": "some words" for number in range(300)}
    for text in ("<script>alert(1)</script>", "1 UNION SELECT password FROM users--", "; cat /etc/passwd", "{{7*7}}"):
        body = json.dumps({**many, "last": text}).encode()
        assert site.request("POST", "/", "Content-Type: application/json", body=body).status == 403
    assert site.request("POST", "/", "Content-Type: application/json", body=json.dumps(many).encode()).status == 200


def test_health_and_static_files_are_not_inspected(site: Site) -> None:
    (site.folder / "static" / "app.css").write_text("body{}")
    cookie = "Cookie: a=%3Cscript%3Ealert(1)%3C/script%3E"
    for number, path in enumerate(("/healthz", f"/static/app.css{ATTACK[1:]}")):
        assert site.get(path, cookie, f"X-Request-ID: outside-{number}").status == 200
    for other in (f"/healthz{ATTACK[1:]}", f"/healthz/more{ATTACK[1:]}", f"/x/..%2fhealthz{ATTACK[1:]}"):
        assert site.waf.get(other).status == 403
    assert site.request("POST", f"/healthz{ATTACK[1:]}").status == 403
    assert not {"outside-0", "outside-1"} & site.waf.audited().keys()


def test_request_that_is_too_many_costs_the_firewall_nothing(shared_sites: Sites, backend: RawBackend) -> None:
    """What is over the budget never reaches the second block: no audit line, no hop."""
    # So slowly that no machine is slow enough to stay below it; the burst of 40 passes.
    site = shared_sites(
        backend.address,
        {"LIMITS": "on", "LIMIT_BURST": "40"},
        gateway_edits=[Edit("templates/30-limits.conf.template", r"rate=\S+r/s", "rate=1r/m")],
    )
    statuses = {f"flood-{number:03}": site.get(ATTACK, f"X-Request-ID: flood-{number:03}").status for number in range(60)}
    refused = {name for name, status in statuses.items() if status == 403}
    wait_until(lambda: refused <= site.waf.audited().keys(), "the last refusal is written, which follows its answer")

    assert {429, 403} == set(statuses.values())
    assert refused == {name for name in site.waf.audited() if name.startswith("flood-")}
    too_many = next(name for name, status in statuses.items() if status == 429)
    assert (site.logged(too_many)["waf"], site.logged(too_many)["upstream_response_s"]) == ("", "")


# --- What it writes


def test_audit_line_has_rules_and_score_and_nothing_secret(site: Site) -> None:
    secrets = ["hunter2-body", "hunter2-cookie", "hunter2-bearer", "hunter2-name"]
    body = b"note=hunter2-body%3Cscript%3Ealert(1)%3C/script%3E&%3Cscript%3Ehunter2-name=1"
    headers = ["Cookie: session=hunter2-cookie'+UNION+SELECT+1--", "Authorization: Bearer hunter2-bearer", "X-Request-ID: audit-line"]
    assert site.request("POST", "/login", *headers, body=body).status == 403
    (line,) = [line for line in printed(site.waf) if line["request_id"] == "audit-line"]

    assert not [secret for secret in secrets if secret in json.dumps(line)]
    assert (line["waf"], line["status"], line["client"], line["uri"]) == ("refused", 403, "127.0.0.1", "/login")
    assert line["score"] >= 5
    assert {941100} <= {rule["id"] for rule in line["rules"]}


def test_audit_line_names_the_argument(site: Site) -> None:
    site.request("POST", "/login", "X-Request-ID: value-line", body=b"note=%3Cscript%3Ealert(1)%3C/script%3E")
    (line,) = [line for line in printed(site.waf) if line["request_id"] == "value-line"]

    assert "ARGS:note" in {rule["variable"] for rule in line["rules"]}


def test_audit_line_keeps_no_name_that_may_be_a_piece_of_the_body(site: Site) -> None:
    site.request("POST", "/login", "X-Request-ID: name-line", body=b"%3Cscript%3Ehunter2-name=1")
    (line,) = [line for line in printed(site.waf) if line["request_id"] == "name-line"]

    assert {rule["variable"] for rule in line["rules"]} == {"ARGS_NAMES:…"}
    assert "hunter2" not in json.dumps(line)


def test_refusal_of_a_parser_is_counted_too(site: Site) -> None:
    site.request("POST", "/api/v1/entries", "Content-Type: application/json", "X-Request-ID: parser-line", body=b"{")
    (line,) = [line for line in printed(site.waf) if line["request_id"] == "parser-line"]

    assert (line["status"], [rule["id"] for rule in line["rules"]]) == (400, [200002])


@pytest.mark.stack_env(LAB_ENABLED="1")
def test_container_log_has_one_line_for_a_refusal(client: httpx.Client, stack: Any) -> None:
    assert client.get(ATTACK, headers={"X-Request-ID": "refused-in-a-stack"}).status_code == 403

    def found() -> list[str]:
        return [line for line in stack.logs("waf").splitlines() if '{"waf":' in line and "refused-in-a-stack" in line]

    (line,) = wait_until(found, "the line is in the log")
    assert json.loads(line[line.index("{") :])["score"] >= 5


# --- Modes, and the way from one to the other


def test_detection_only_lets_pass_and_says_so(shared_sites: Sites, backend: RawBackend) -> None:
    site = shared_sites(backend.address, {"WAF_MODE": "DetectionOnly"})

    assert site.get(ATTACK, "X-Request-ID: only-detected").status == 200
    assert site.request("POST", "/x", "Content-Type: text/x-other", "X-Request-ID: only-typed", body=b"x").status == 200
    lines = wait_until(lambda: [line for line in printed(site.waf) if line["request_id"].startswith("only-")][1:], "both are written")
    assert {line["waf"] for line in lines} == {"would refuse"}


def test_tuning_loop(shared_sites: Sites, start_site: Sites, backend: RawBackend, tmp_path: Path) -> None:
    """From DetectionOnly to On: look, take the report's lines, and what is honest passes while attacks do not."""
    watching = shared_sites(backend.address, {"WAF_MODE": "DetectionOnly"})
    assert watching.request("POST", "/notes", "X-Request-ID: tuning-1", body=HONEST).status == 200
    seen = wait_until(lambda: [line for line in printed(watching.waf) if line["request_id"] == "tuning-1"], "it is written")
    (tmp_path / "gateway.log").write_text("".join(f"gateway-1  | {json.dumps(line, separators=(',', ':'))}\n" for line in seen))
    report = subprocess.run([sys.executable, str(REPORT), str(tmp_path / "gateway.log")], capture_output=True, text=True, check=True)
    lines = re.findall(r"^ +(SecRule .*)$", report.stdout, re.MULTILINE)
    assert lines, report.stdout

    before = start_site(backend.address)
    after = start_site(backend.address, edits=[Edit("rules/user-before.conf", r"\Z", "\n" + "\n".join(lines).replace("\\", "\\\\") + "\n")])

    assert before.request("POST", "/notes", body=HONEST).status == 403
    assert after.request("POST", "/notes", body=HONEST).status == 200
    assert after.request("POST", "/notes", body=b"message=%3Cscript%3Ealert(1)%3C/script%3E").status == 403


def test_threshold_and_paranoia_decide(shared_sites: Sites, backend: RawBackend) -> None:
    strict = shared_sites(backend.address, {"WAF_PARANOIA": "4"})
    lax = shared_sites(backend.address, {"WAF_ANOMALY_THRESHOLD": "1000"})

    assert strict.request("POST", "/", body=b"message=caf%C3%A9+%26+bar%21%3B--").status == 403
    assert lax.get(ATTACK).status == 200


def test_sampling_inspects_a_part(shared_sites: Sites, backend: RawBackend) -> None:
    site = shared_sites(backend.address, {"WAF_SAMPLING": "50"})
    statuses = [site.get(ATTACK).status for _ in range(60)]

    assert 5 < statuses.count(403) < 55


def test_method_that_is_not_named_is_refused(shared_sites: Sites, backend: RawBackend) -> None:
    site = shared_sites(backend.address, {"WAF_METHODS": "GET HEAD POST"})

    assert site.request("DELETE", "/").status == 403
    assert site.get("/").status == 200


# --- Bad input


WRONG = [
    ("WAF_MODE", "on"),
    ("WAF_MODE", "Maybe"),
    ("WAF_PARANOIA", "0"),
    ("WAF_PARANOIA", "5"),
    ("WAF_PARANOIA", "two"),
    ("WAF_PARANOIA", "1\n2"),
    ("WAF_ANOMALY_THRESHOLD", "0"),
    ("WAF_ANOMALY_THRESHOLD", "1001"),
    ("WAF_SAMPLING", "0"),
    ("WAF_SAMPLING", "101"),
    ("WAF_BODY_LIMIT", "65535"),
    ("WAF_BODY_LIMIT", "1m"),
    ("WAF_BODY_LIMIT", "100000000"),
    ("WAF_VALUES", "99"),
    ("WAF_VALUES", "20000"),
    ("WAF_VALUES", "many"),
    ("WAF_METHODS", "GET,POST"),
    ("WAF_METHODS", "get"),
    ("WAF_METHODS", " "),
    ("WAF_CONTENT_TYPES", "*/*"),
    ("WAF_CONTENT_TYPES", "text/*"),
    ("WAF_CONTENT_TYPES", "json"),
    ("WAF_CONTENT_TYPES", "application/json, text/csv"),
    ("WAF_CONTENT_TYPES", 'a/b" "id:1'),
    ("WAF_PASSWORD_FIELDS", "pin;code"),
    ("WAF_PASSWORD_FIELDS", 'pin"'),
    ("WAF_RULES_DIR", "rules"),
    ("NGINX_WORKER_PROCESSES", "1; env INJECTED=1"),
    ("NGINX_WORKER_CONNECTIONS", "many"),
    ("NGINX_LOCAL_RESOLVERS", "127.0.0.11; return 200"),
    ("HEALTH_PATH", "healthz"),
    ("HEALTH_PATH", '/a" 1; #'),
]


@pytest.fixture
def _module(not_run: Callable[[str], None]) -> None:
    if lack := waf.lacks(ask(), {}):
        not_run(lack)


@pytest.mark.usefixtures("_module")
@pytest.mark.parametrize(("name", "value"), WRONG)
def test_wrong_setting_is_named(tmp_path: Path, name: str, value: str) -> None:
    done = check(tmp_path, {name: value})

    assert done.returncode == 2
    assert [line.startswith(name) for line in done.stderr.splitlines()] == [True]
    assert not (tmp_path / "run" / "conf").exists()


@pytest.mark.usefixtures("_module")
def test_all_wrong_settings_are_named_at_once(tmp_path: Path) -> None:
    done = check(tmp_path, {"WAF_MODE": "on", "WAF_PARANOIA": "9"})

    assert [line.partition("=")[0] for line in done.stderr.splitlines()] == ["WAF_MODE", "WAF_PARANOIA"]


@pytest.mark.usefixtures("_module")
def test_folder_without_rules_is_refused(tmp_path: Path) -> None:
    done = check(tmp_path, {"WAF_RULES_DIR": str(tmp_path)})

    assert done.returncode == 2
    assert "holds no OWASP Core Rule Set 3 or 4" in done.stderr


@pytest.mark.usefixtures("_module")
def test_rule_set_that_lacks_a_family_ends_the_start(tmp_path: Path) -> None:
    """What is not loaded would refuse nothing, without a word."""
    for file in waf.RULES.glob("*"):
        if "-941-" not in file.name:
            (tmp_path / "rules" / file.name).parent.mkdir(exist_ok=True)
            (tmp_path / "rules" / file.name).symlink_to(file)
    done = check(tmp_path, {"WAF_RULES_DIR": str(tmp_path)})

    assert done.returncode == 1
    assert "REQUEST-941.conf" in done.stderr


@pytest.mark.usefixtures("_module")
@pytest.mark.parametrize(("generation", "version"), [("3", "330"), ("4", "400")])
def test_both_generations_are_understood(tmp_path: Path, generation: str, version: str) -> None:
    """A release as it is unpacked: its rules are in rules/."""
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "lfi-os-files.data").write_text("etc/passwd\n")  # waf/rules/kit.conf reads it too
    for number, line in enumerate(re.findall(r"REQUEST-(\d+)", (ROOT / "waf" / "rules" / "main.conf").read_text()), 1):
        rule = f"SecAction \"id:{number},phase:1,pass,ver:'OWASP_CRS/{generation}.1.0'\"\n"
        (tmp_path / "rules" / f"REQUEST-{line}-{NAMES.get(line, 'ANY')}.conf").write_text(rule)
    done = check(tmp_path, {"WAF_RULES_DIR": str(tmp_path)})

    assert done.returncode == 0, done.stderr
    assert f"tx.crs_setup_version={version}" in (tmp_path / "run" / "conf" / "rules" / "settings.conf").read_text()


NAMES = {"901": "INITIALIZATION"}


@pytest.mark.usefixtures("_module")
def test_off_loads_no_rule_and_passes_all(tmp_path: Path) -> None:
    off, on = check(tmp_path / "off", {"WAF_MODE": "Off"}), check(tmp_path / "on", {})

    # Inline is the one that marks what the self-test asks; it refuses nothing.
    assert "1/0/0" in off.stderr
    assert "1/0/0" not in on.stderr


def test_machine_without_the_module_says_so() -> None:
    without = Nginx((1, 22, 1), (3, 0, 0), frozenset(), "/none")

    assert "has no module" in waf.lacks(without, {})


def test_broken_exclusion_is_named_with_file_and_line(start_site: Sites, site: Site, backend: RawBackend) -> None:
    """Nginx does not start, and a running one would keep its rules: nothing is lost."""
    assert site.get("/").status == 200
    with pytest.raises(AssertionError, match=r"user-before\.conf\. Line: 6"):
        start_site(
            backend.address,
            edits=[Edit("rules/user-before.conf", r"\A(?s:.*)\Z", "# one\n# two\n# three\n# four\n# five\nSecRool ARGS\n")],
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


@pytest.mark.parametrize(
    ("variable", "action"),
    [
        ("ARGS:message", "ctl:ruleRemoveTargetById=942230;ARGS:message"),
        ("MATCHED_VARS:ARGS:message", "ctl:ruleRemoveTargetById=942230;ARGS:message"),
        ("ARGS_NAMES:…", "ctl:ruleRemoveTargetById=942230;ARGS_NAMES"),
        ("TX:extension", "ctl:ruleRemoveById=942230"),
        ("", "ctl:ruleRemoveById=942230"),
    ],
)
def test_report_proposes_the_narrowest_line(variable: str, action: str, tmp_path: Path) -> None:
    hit = {"id": 942230, "message": "SQL", "variable": variable}
    line = {"waf": "refused", "method": "POST", "uri": "/notes", "rules": [hit]}

    assert f'"@streq /notes" "id:1000,phase:1,pass,nolog,{action}"' in report(
        json.dumps(line, separators=(",", ":"), ensure_ascii=False), tmp_path
    )


def prove(request: bytes, image: str, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    (tmp_path / "request").write_bytes(request)
    command = [sys.executable, "-m", "tools.waf_prove", str(tmp_path / "request"), image]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.runtimes("compose")
def test_lines_are_proved_with_the_request_and_with_attacks(waf_image: str, tmp_path: Path) -> None:
    """What passes with them besides is said: here the one attack that the same rule of the same argument would find."""
    head = b"POST /notes HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\n\r\n"
    done = prove(head + b"title=code&" + HONEST, waf_image, tmp_path)

    assert done.returncode == 0, done.stderr
    assert "ctl:ruleRemoveTargetById=942230;ARGS:message" in done.stdout
    found = re.search(r"Of (\d+) attacks in its arguments that were refused, (\d+) pass", done.stdout)
    assert found
    assert (int(found[1]) > 20, int(found[2])) == (True, 1)


def test_a_file_that_is_no_request_is_refused(tmp_path: Path) -> None:
    done = prove(b"message=hello\n", "none", tmp_path)

    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
