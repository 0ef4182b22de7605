"""nginx and the application see the same path, so nothing is chosen for one path and carried out for another."""

import pytest

from tests.gateways import Gateways
from tests.nginx.gateway import Gateway
from tests.sites import Sites
from tests.smuggling.wire import Line, Recorder
from tools.local.nginx import Edit

pytestmark = pytest.mark.runtimes("compose")

TELL_URI = Edit(
    "templates/snippets/proxy.conf.template", r"^proxy_redirect off;", 'proxy_redirect off; proxy_set_header X-Matched-Path "[$uri]";'
)
# The gateway as nginx is by default: slashes merged, dot segments resolved for its own decisions and passed on as they came.
CARELESS = (
    Edit("templates/15-request.conf.template", r"^merge_slashes off;", ""),
    Edit("templates/60-site.conf.template", r"if \(\$kit_ambiguous_path\) \{\s*return 400;\s*\}", ""),
)

AGREED = [
    "/a/b",
    "//a",
    "/a//b///c",
    "/a%2Fb",
    "/a%2f%2Fb",
    "/%61%70%69/x",
    "/a%252Fb",
    "/a%252e%252e/b",
    "/a;b=c/d",
    "/a/..;/b",
    "/a/...",
    "/a/.b/c.",
    "/a\\..\\b",
    "/a%5c..%5cb",
    "/a%3Fb=c",
    "/a%23b",
    "/a%20b+c",
    "/%E4%BD%A0",
    "/%ff%fe",
    "/a?b=/../c",
    "/a%2e",
    "/static%2Fa%3Fb",
    "//static//a",
    "/Healthz",
    "/healthz%2F",
    "/healthz;x",
]
REFUSED = [
    "/a/../b",
    "/a/./b",
    "/a/..",
    "/a/.",
    "/.",
    "/..",
    "/a/%2e%2e/b",
    "/a/.%2E/b",
    "/a%2f..%2fb",
    "/a%2F%2e%2e%2Fb",
    "/a/..?b",
    "/a/..//b",
    "/static/../a",
    "/static/%2e%2e/a",
    "/static/..%2fa",
    "/page/x/../../healthz",
    "/page/x/..%2f..%2fhealthz",
    "/healthz/../page",
    "/a/../../../etc/passwd",
    "/a#b",
    "/a#/../b",
    "/a/../.kit-error/static/b",
    "/a/../.kit-error/%0A%0A",
]


@pytest.fixture(scope="session")
def telling(shared_gateways: Gateways, recorder: Recorder) -> Gateway:
    """A gateway that also tells the application which path it chose by."""
    return shared_gateways(recorder.address, {"WAF_MODE": "Off"}, [TELL_URI])


def ask(gateway: Gateway, target: str) -> int:
    """Return the status of a GET of these very bytes."""
    with Line(gateway.port) as line:
        line.say(f"GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode("latin-1"))
        answer = line.hear()
    assert answer is not None
    return answer.status


def seen(records: list[dict[str, dict[str, str]]]) -> list[tuple[str, str]]:
    """The path that nginx chose by and the one that the application got, as bytes in latin-1."""
    return [(record["headers"]["x_matched_path"][1:-1], str(record["path"])) for record in records]


def test_both_see_the_same_path(telling: Gateway, recorder: Recorder, subtests: pytest.Subtests) -> None:
    for target in AGREED:
        with subtests.test(target):
            mark = recorder.mark()

            assert ask(telling, target) == 200
            ((matched, arrived),) = seen(recorder.since(mark))
            assert matched == arrived


def test_a_path_that_they_would_see_differently_is_refused(telling: Gateway, recorder: Recorder, subtests: pytest.Subtests) -> None:
    mark = recorder.mark()
    for target in REFUSED:
        with subtests.test(target):
            assert ask(telling, target) == (404 if ".kit-error" in target else 400)
            # The gateway's own page, as for every other refusal.
            assert telling.get(target).values("x-request-id") != []

    assert recorder.since(mark) == []


def test_no_name_and_no_expression_of_a_user_is_a_way_around_it(start_gateway: Gateways, recorder: Recorder) -> None:
    """HEALTH_PATH is answered for any Host; WEBSOCKET_PATHS may be every path."""
    gateway = start_gateway(recorder.address, {"WAF_MODE": "Off", "WEBSOCKET_PATHS": "/"})
    mark = recorder.mark()

    assert gateway.get("/page/x/../../healthz", host="192.0.2.1").status == 400
    assert gateway.get("/.kit-error/.html").status == 404
    assert gateway.get("/page/x/../../healthz", "Accept: text/html").body.startswith(b"<!doctype html>")
    assert recorder.since(mark) == []
    assert gateway.get("/healthz", host="192.0.2.1").status == 200


def test_without_the_guard_nginx_decides_for_another_path(start_gateway: Gateways, recorder: Recorder) -> None:
    gateway = start_gateway(recorder.address, {"WAF_MODE": "Off"}, [TELL_URI, *CARELESS])
    mark = recorder.mark()

    assert ask(gateway, "/page/x/../../healthz") == 200
    assert ask(gateway, "//healthz") == 200
    assert seen(recorder.since(mark)) == [("/healthz", "/page/x/../../healthz"), ("/healthz", "//healthz")]


ATTACK = "/page/<script>alert(1)</script>"


def test_no_path_leads_around_the_waf(start_site: Sites, recorder: Recorder) -> None:
    gateway = start_site(recorder.address)
    mark = recorder.mark()

    assert ask(gateway, ATTACK) == 403
    assert ask(gateway, f"{ATTACK}/../../../healthz") == 400
    assert recorder.since(mark) == []


def test_nor_without_the_guard(start_site: Sites, recorder: Recorder) -> None:
    """The health path is not inspected; the WAF compares what was sent, not the path that the gateway's nginx chose by."""
    gateway = start_site(recorder.address, gateway_edits=CARELESS)
    mark = recorder.mark()

    assert ask(gateway, ATTACK) == 403
    assert ask(gateway, f"{ATTACK}/../../../healthz") == 403
    assert recorder.since(mark) == []


def test_one_would_if_the_waf_chose_by_the_path_that_nginx_chose_by(start_site: Sites, recorder: Recorder) -> None:
    """The twin."""
    by_location = Edit(
        "conf.d/50-waf.conf",
        r"^    location / {",
        "    location = /healthz {\n        include snippets/proxy-to-app.conf;\n    }\n\n\\g<0>",
    )
    gateway = start_site(recorder.address, edits=[by_location], gateway_edits=CARELESS)
    mark = recorder.mark()

    assert ask(gateway, f"{ATTACK}/../../../healthz") == 200
    assert [record["path"] for record in recorder.since(mark)] == [f"{ATTACK}/../../../healthz"]
