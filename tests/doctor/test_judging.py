"""Rules on facts made by hand: what the kit's own files cannot show without another nginx, network or firewall."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tools.doctor import drift, firewall
from tools.doctor.facts import App, Compose, Facts, Gunicorn, Missing, Nginx, Pool, Waf
from tools.doctor.judge import Finding, any_broken, judge
from tools.doctor.nginx import read_tree
from tools.doctor.rules import RULES
from tools.doctor.rules.base import Judgement, Verdict
from tools.doctor.units import Version, show_version
from tools.doctor.values import Origin, Setting

HERE = Origin("a test")
NOT_READ = Missing("not part of this test")
NEWEST = (1, 30, 6)
GUNICORN: Mapping[str, Any] = {
    "timeout": 30,
    "worker_class": "gthread",
    "keepalive": 65,
    "threads": 8,
    "workers": 2,
    "worker_connections": 1000,
    "forwarded_allow_ips": ["172.18.0.0/16"],
    "limit_request_fields": 100,
    "limit_request_field_size": 8193,
}
SITE = "upstream app {{ server app:8000 max_fails=3 resolve; {upstream} }} server {{ location / {{ proxy_pass http://app; {location} }} }}"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def setting(name: str, value: Any) -> Setting[Any]:
    return Setting(name, value, str(value), HERE)


def nginx(folder: Path, text: str = "", *, version: Version = NEWEST, **environment: str) -> Nginx:
    """Read `http { text }` as nginx's configuration."""
    main = folder / "nginx.conf"
    main.write_text(f"http {{\n{text or SITE.format(upstream='', location='')}\n}}\n")
    tree = read_tree(main, locate=lambda path, line: Origin(path.name, line))
    variables = {name: setting(name, value) for name, value in environment.items()}
    return Nginx(tree, Setting("nginx", version, show_version(version), HERE), variables)


def gunicorn(**changed: Any) -> Gunicorn:
    return Gunicorn({name: setting(name, value) for name, value in {**GUNICORN, **changed}.items()}, {})


def facts(**layers: Any) -> Facts:
    empty = dict.fromkeys(("nginx", "gunicorn", "compose", "app", "database", "waf"), NOT_READ)
    return Facts(source="files", runtime="compose", **{**empty, **layers})


def judged(rule: str, facts: Facts) -> Judgement:
    """Return what one rule says."""
    (finding,) = judge([known for known in RULES if known.id == rule], facts, None)
    return finding.files


@pytest.mark.parametrize("worker_class", ["sync", "tornado", "gevent_pywsgi"])
def test_keepalive_does_not_apply_to_classes_that_never_close_an_idle_connection(folder: Path, worker_class: str) -> None:
    judgement = judged("upstream-keepalive", facts(nginx=nginx(folder), gunicorn=gunicorn(worker_class=worker_class, keepalive=2)))

    assert judgement.verdict is Verdict.NOT_APPLICABLE
    assert worker_class in judgement.says


@pytest.mark.parametrize(
    ("version", "upstream", "verdict"),
    [
        ((1, 30, 6), "", Verdict.BROKEN),  # kept without being asked, for 60 s
        ((1, 29, 6), "", Verdict.NOT_APPLICABLE),
        ((1, 29, 6), "keepalive 8;", Verdict.BROKEN),
        ((1, 30, 6), "keepalive 0;", Verdict.NOT_APPLICABLE),
        ((1, 30, 6), "keepalive 32 local; keepalive_timeout 19s;", Verdict.OK),
    ],
)
def test_keepalive_follows_what_this_nginx_keeps(folder: Path, version: Version, upstream: str, verdict: Verdict) -> None:
    read = nginx(folder, SITE.format(upstream=upstream, location=""), version=version)

    assert judged("upstream-keepalive", facts(nginx=read, gunicorn=gunicorn(keepalive=20))).verdict is verdict


def test_the_smallest_read_timeout_counts(folder: Path) -> None:
    """One location with a shorter time than the rest is enough to give up too early."""
    read = nginx(
        folder,
        "proxy_read_timeout 60s; server { location /a { proxy_pass http://app; } "
        "location /b { proxy_pass http://app; proxy_read_timeout 5s; } }",
    )

    judgement = judged("request-timeout", facts(nginx=read, gunicorn=gunicorn()))

    assert judgement.verdict is Verdict.BROKEN
    assert [value.shown for value in judgement.values] == ["30", "5 s"]


def test_a_configuration_that_proxies_nothing_is_not_checked(folder: Path) -> None:
    judgement = judged("buffering", facts(nginx=nginx(folder, "server { location / { return 204; } }")))

    assert judgement.verdict is Verdict.NOT_CHECKED


def test_a_missing_layer_is_not_checked_and_says_why() -> None:
    judgement = judged("request-timeout", facts(gunicorn=gunicorn()))

    assert (judgement.verdict, judgement.says) == (Verdict.NOT_CHECKED, "not part of this test")


@pytest.mark.parametrize(("version", "verdict"), [((1, 22, 1), Verdict.WARN), ((1, 30, 3), Verdict.WARN), ((1, 30, 4), Verdict.OK)])
def test_an_nginx_with_a_known_hole_is_a_warning(folder: Path, version: Version, verdict: Verdict) -> None:
    """Not broken: a distribution may have fixed its old version. The consequence is said."""
    plain = "server { location / { proxy_pass http://127.0.0.1:8000; } }"

    judgement = judged("nginx-version", facts(nginx=nginx(folder, plain, version=version)))

    assert judgement.verdict is verdict
    assert ("CVE-2026-42533" in judgement.says) is (verdict is Verdict.WARN)


@pytest.mark.parametrize(
    ("text", "needed"),
    [
        ("upstream a { server app:8000 resolve; }", "1.27.3"),
        ("upstream a { server 127.0.0.1:1; keepalive 32 local; }", "1.29.7"),
        ("max_headers 100;", "1.29.8"),
        ("keepalive_min_timeout 5s;", "1.27.4"),
    ],
)
def test_a_directive_newer_than_nginx_is_broken(folder: Path, text: str, needed: str) -> None:
    judgement = judged("nginx-version", facts(nginx=nginx(folder, text, version=(1, 26, 3))))

    assert judgement.verdict is Verdict.BROKEN
    assert f"needs {needed}, this is 1.26.3" in judgement.says
    assert judgement.values[1].origin == Origin("nginx.conf", 2)


def test_an_nginx_that_cannot_count_headers_is_a_warning(folder: Path) -> None:
    judgement = judged("header-count", facts(nginx=nginx(folder, version=(1, 22, 1)), gunicorn=gunicorn()))

    assert judgement.verdict is Verdict.WARN
    assert "1.29.8" in judgement.edit[0]


def test_headers_that_nginx_removes_are_not_counted(folder: Path) -> None:
    """An empty value removes the header, and Host replaces the client's."""
    added = 'max_headers 98; proxy_set_header Host $host; proxy_set_header Proxy ""; proxy_set_header A 1; proxy_set_header B 2;'

    assert (
        judged("header-count", facts(nginx=nginx(folder, f"{added}{SITE.format(upstream='', location='')}"), gunicorn=gunicorn())).verdict
        is Verdict.OK
    )
    one_more = f"{added} proxy_set_header C 3;{SITE.format(upstream='', location='')}"
    assert judged("header-count", facts(nginx=nginx(folder, one_more), gunicorn=gunicorn())).verdict is Verdict.BROKEN


def test_a_location_that_sets_one_header_loses_the_inherited_ones(folder: Path) -> None:
    """By nginx's own rule 3 headers outside count for nothing in a location with one of its own."""
    outside = "max_headers 99; proxy_set_header A 1; proxy_set_header B 2; proxy_set_header C 3;"
    read = nginx(folder, f"{outside}{SITE.format(upstream='', location='proxy_set_header D 4;')}")

    assert judged("header-count", facts(nginx=read, gunicorn=gunicorn())).verdict is Verdict.OK


@pytest.mark.parametrize(("waf", "verdict"), [(10 * 1024**2, Verdict.OK), (20 * 1024**2, Verdict.OK), (5 * 1024**2, Verdict.BROKEN)])
def test_the_firewall_takes_every_body_that_flask_takes(folder: Path, waf: int, verdict: Verdict) -> None:
    limit = 10 * 1024**2
    app = App(setting("MAX_CONTENT_LENGTH", limit), NOT_READ)
    read = nginx(folder, SITE.format(upstream="", location="client_max_body_size 10m;"))

    judgement = judged("body-size", facts(nginx=read, app=app, waf=Waf(setting("SecRequestBodyLimit", waf))))

    assert judgement.verdict is verdict


def test_an_unlimited_body_is_broken(folder: Path) -> None:
    app = App(setting("MAX_CONTENT_LENGTH", 0), NOT_READ)
    read = nginx(folder, SITE.format(upstream="", location="client_max_body_size 0;"))

    assert judged("body-size", facts(nginx=read, app=app)).verdict is Verdict.BROKEN


def test_the_limit_of_the_firewall_is_read_where_nginx_loads_it(folder: Path) -> None:
    """In the file that is named, or in one that this includes; the last one counts, as it does for libmodsecurity."""
    (folder / "main.conf").write_text(f"SecRuleEngine On\nSecRequestBodyLimit 1\nInclude {folder}/own.conf\n")
    (folder / "own.conf").write_text("# our own\nSecRequestBodyLimit 13107200\n")
    read = nginx(folder, f"server {{ modsecurity on; modsecurity_rules_file {folder}/main.conf; }}")

    found = firewall.from_tree(read.tree, firewall.read_file, lambda path, line: Origin(path.name, line))

    assert isinstance(found, Waf)
    assert (found.body_limit.value, found.body_limit.origin) == (13107200, Origin("own.conf", 2))


def test_no_firewall_is_no_limit(folder: Path) -> None:
    found = firewall.from_tree(nginx(folder).tree, firewall.read_file, lambda path, line: Origin(path.name, line))

    assert isinstance(found, Missing)


@pytest.mark.parametrize(
    ("allowed", "subnets", "verdict"),
    [
        (["172.18.0.0/16"], ("172.18.0.0/16",), Verdict.OK),
        (["172.18.0.5"], ("172.18.0.0/16",), Verdict.OK),
        (["127.0.0.1", "::1"], ("172.18.0.0/16",), Verdict.OK),
        (["172.18.0.0/15"], ("172.18.0.0/16",), Verdict.BROKEN),
        (["172.18.0.0/16"], ("172.19.0.0/16",), Verdict.BROKEN),
        (["*"], (), Verdict.BROKEN),
        (["0.0.0.0/0"], (), Verdict.BROKEN),
        (["::/0"], (), Verdict.BROKEN),
        (["64.0.0.0/2"], (), Verdict.BROKEN),
    ],
)
def test_gunicorn_believes_the_gateways_network_only(allowed: list[str], subnets: tuple[str, ...], verdict: Verdict) -> None:
    networks = Compose({}, subnets={"web": subnets})

    assert judged("forwarded-allow-ips", facts(gunicorn=gunicorn(forwarded_allow_ips=allowed), compose=networks)).verdict is verdict


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("set_real_ip_from 10.0.0.0/8; geo $peer $trusted { default 0; 10.0.0.0/8 1; }", Verdict.OK),
        ("geo $peer $trusted { default 0; 10.0.0.0/8 1; }", Verdict.BROKEN),
        ("set_real_ip_from 10.0.0.0/8; geo $peer $trusted { default 0; }", Verdict.BROKEN),
        ("set_real_ip_from 10.0.0.0/8; set_real_ip_from 192.0.2.1; geo $peer $trusted { 10.0.0.0/8 1; }", Verdict.BROKEN),
    ],
)
def test_trusted_proxies_are_the_same_in_every_place(folder: Path, text: str, verdict: Verdict) -> None:
    judgement = judged("trusted-proxies", facts(nginx=nginx(folder, text, TRUSTED_PROXIES="10.0.0.0/8")))

    assert judgement.verdict is verdict


def test_greenlets_may_share_connections() -> None:
    """A thousand greenlets with a connection each would be more than the database has."""
    app = App(setting("MAX_CONTENT_LENGTH", None), Pool(setting("pool size", 8), setting("max overflow", 0)))

    assert judged("pool-threads", facts(gunicorn=gunicorn(worker_class="gevent"), app=app)).verdict is Verdict.NOT_APPLICABLE
    assert judged("pool-threads", facts(gunicorn=gunicorn(threads=9), app=app)).verdict is Verdict.BROKEN


def test_a_warning_does_not_fail_the_run() -> None:
    topic = RULES[0]

    assert not any_broken([Finding(topic, Judgement(Verdict.WARN, "")), Finding(topic, Judgement(Verdict.NOT_CHECKED, ""))])
    assert any_broken([Finding(topic, Judgement(Verdict.OK, ""), running=Judgement(Verdict.BROKEN, ""))])


def test_no_difference_between_the_same_facts(folder: Path) -> None:
    one = facts(nginx=nginx(folder), gunicorn=gunicorn(), compose=Compose({}))

    assert {finding.verdict for finding in drift.compare(one, one)} == {Verdict.OK}


def test_a_difference_names_both_values(folder: Path) -> None:
    files = facts(nginx=nginx(folder), gunicorn=gunicorn())
    running = facts(nginx=nginx(folder, SITE.format(upstream="", location="proxy_read_timeout 7s;")), gunicorn=gunicorn(timeout=31))

    of_nginx, of_gunicorn = drift.compare(files, running)

    assert [value.shown for value in of_nginx.files.values] == ["not there", "7s"]
    assert [value.shown for value in of_gunicorn.files.values] == ["30", "31"]
    assert {of_nginx.verdict, of_gunicorn.verdict} == {Verdict.BROKEN}


def test_ports_and_addresses_that_a_start_chooses_are_no_difference(folder: Path) -> None:
    """The local runtime takes free ports at each start."""
    text = "upstream app {{ server 127.0.0.1:{0} max_fails=3; }} server {{ listen 127.0.0.1:{0}; }}"
    one, other = facts(nginx=nginx(folder, text.format(8001))), facts(nginx=nginx(folder, text.format(9001)))

    assert [finding.verdict for finding in drift.compare(one, other)] == [Verdict.OK]


def test_a_file_that_was_edited_after_the_start_is_a_difference() -> None:
    """It does not tell what it has read; asked again, it would read the edited file."""
    files = facts(gunicorn=gunicorn())

    (finding,) = drift.compare(files, replace(files, source="running", edited_since=("gunicorn.conf.py",)))

    assert finding.verdict is Verdict.BROKEN
    assert "gunicorn.conf.py was edited after" in finding.files.says
