"""Constants of the kit's own files that must agree, where the format lets no one follow from the other.

What an edited or foreign configuration can get wrong is the doctor's (tools/doctor/rules.py); this only guards the files as they are.
"""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.doctor.kits import ROOT, Kit
from tools.doctor import compose
from tools.doctor.facts import Facts, from_files
from tools.doctor.nginx import Nginx, Scope, scopes
from tools.doctor.rules import BODY_SIZE, Directive
from tools.doctor.values import need, seconds, size_bytes

COMPOSE, SLOW, FROM_GATEWAY = "docker-compose.yml", "nginx/templates/20-slow-clients.conf.template", "waf/conf.d/20-gateway.conf"
UPSTREAM, RETRIES = "nginx/templates/upstream/app.conf.template", "nginx/conf.d/45-retries.conf"
CONF, LIMITS = "gunicorn.conf.py", "nginx/templates/30-limits.conf.template"


def gateway(facts: Facts) -> Nginx:
    return need(facts.gateway)


def upstreams(facts: Facts) -> list[Scope]:
    """Return those of the gateway and of the WAF."""
    return [scope for _, nginx in facts.chain() for scope in scopes(nginx.tree, "upstream")]


def answers_are_buffered(facts: Facts) -> bool:
    """A slow client would hold a gunicorn worker."""
    wanted = {"proxy_request_buffering": "on", "proxy_buffering": "on"}
    buffering = all(Directive(name, value).everywhere(gateway(facts))[-1].value == value for name, value in wanted.items())
    return buffering and Directive("proxy_max_temp_file_size", "1024m").everywhere(gateway(facts))[0].value != "0"


def nothing_is_repeated_that_may_have_been_done(facts: Facts) -> bool:
    """An order would be placed twice."""
    nodes = [node for _, nginx in facts.chain() for scope in nginx.proxying() for node in scope.find_all("proxy_next_upstream")]
    return all("non_idempotent" not in node.args for node in nodes)


def addresses_are_asked_for_again(facts: Facts) -> bool:
    """New containers would get no requests, and removed ones still would."""
    resolving = [scope for scope in upstreams(facts) if any("resolve" in n.args for n in scope.here.all("server"))]
    valid = [word for scope in resolving for node in scope.find_all("resolver") for word in node.args if word.startswith("valid=")]
    return len(valid) == len(resolving) > 0 and all(seconds(word.removeprefix("valid=")) <= 10 for word in valid)


def one_failure_takes_no_server_out(facts: Facts) -> bool:
    """One reset connection on each container would be an outage."""
    servers = [node for scope in upstreams(facts) for node in scope.here.all("server") if "backup" not in node.args]
    fails = [int(word.removeprefix("max_fails=")) for node in servers for word in node.args if word.startswith("max_fails=")]
    return len(fails) == len(servers) and min(fails) >= 2


def open_files_suffice(facts: Facts) -> bool:
    """Clients would be refused: `Too many open files`."""
    main, events = Scope((gateway(facts).tree,)), next(scopes(gateway(facts).tree, "events"))
    files = Directive("worker_rlimit_nofile", "0", int).at_scope(main).value
    return bool(files >= 2 * Directive("worker_connections", "512", int).at_scope(events).value)


def temp_files_fit(facts: Facts) -> bool:
    """The numbers in the table of 20-slow-clients.conf.template: a few slow readers would fill the tmpfs."""
    spill, body = Directive("proxy_max_temp_file_size", "1024m", size_bytes), BODY_SIZE
    at_once = {name: int(count) for name, count in re.findall(r"^#   (proxy|body) .*?  (\d+)  ", (ROOT / SLOW).read_text(), re.MULTILINE)}
    mounts = facts.service("gateway").tmpfs
    needed = {"proxy": spill.everywhere(gateway(facts))[-1].value, "body": body.everywhere(gateway(facts))[-1].value}
    return all(at_once[name] * size <= mounts[f"/run/nginx/{name}"].value for name, size in needed.items())


def uploads_of_all_threads_fit(facts: Facts) -> bool:
    """Flask keeps an upload in /tmp while a view reads it; when that is full it gets 500."""
    app = need(facts.application)
    at_once = app.get("workers").value * app.get("threads").value
    return bool(at_once * BODY_SIZE.everywhere(gateway(facts))[-1].value <= facts.service("app").tmpfs["/tmp"].value)  # noqa: S108


def idle_connections_fit_in_a_worker(facts: Facts) -> bool:
    """They would fill it, and new requests wait behind them. (nginx keeps 32 for each of its workers by default.)"""
    nginx_workers = max(Directive("worker_processes", "1", int).at_scope(Scope((nginx.tree,))).value for _, nginx in facts.chain())
    kept = [Directive("keepalive", "32", int).at_scope(scope).value for scope in upstreams(facts)]
    return bool(nginx_workers * max(kept) < need(facts.application).get("worker_connections").value)


def gunicorn_takes_the_headers_that_nginx_passes(facts: Facts) -> bool:
    """With what nginx adds: a blank after each name, CRLF, fields of its own. Else it answers by a bare page (414, 431)."""
    app, edge = need(facts.application), gateway(facts)
    buffer = Directive("large_client_header_buffers", "4 8k", size_bytes, at=1).everywhere(edge)[-1].value
    sizes = buffer - 2 <= app.get("limit_request_line").value and buffer + 1 <= app.get("limit_request_field_size").value
    fields = (node.args for _, nginx in facts.chain() for scope in nginx.proxying() for node in scope.find_all("proxy_set_header"))
    added = len({name.lower() for name, value in fields if value} - {"host", "connection", "if-match"})  # these replace the client's own
    most = Directive("max_headers", "1000", int).everywhere(edge)[-1].value
    return bool(sizes and most + added <= app.get("limit_request_fields").value)


def the_waf_takes_what_the_gateway_passes(facts: Facts) -> bool:
    """It would refuse with a bare page, or cut a request that comes on an idle connection."""
    edge, waf = gateway(facts), need(facts.waf)
    headers, buffers = Directive("max_headers", "1000", int), Directive("large_client_header_buffers", "4 8k", size_bytes, at=1)
    added = {node.args[0] for scope in edge.proxying() for node in scope.find_all("proxy_set_header") if node.args[1]}
    counts = headers.everywhere(edge)[0].value + len(added) <= headers.everywhere(waf)[0].value
    sizes = buffers.everywhere(edge)[-1].value <= buffers.everywhere(waf)[0].value
    idle = Directive("keepalive_timeout", "75s", seconds)
    kept = max(idle.at_scope(scope).value for scope in scopes(edge.tree, "upstream"))
    return bool(counts and sizes and kept < idle.everywhere(waf)[0].value)


Agreement = Callable[[Facts], bool]
# What must agree, and an edit that makes it disagree: file, old (a regular expression), new.
CASES: tuple[tuple[Agreement, str, str, str], ...] = (
    (answers_are_buffered, SLOW, r"proxy_buffering on;", "proxy_buffering off;"),
    (answers_are_buffered, SLOW, r"proxy_request_buffering on;", "proxy_request_buffering off;"),
    (answers_are_buffered, SLOW, r"\$\{ANSWER_FILE_SIZE\}", "0"),
    (nothing_is_repeated_that_may_have_been_done, RETRIES, r"upstream error timeout;", "upstream error timeout non_idempotent;"),
    (addresses_are_asked_for_again, UPSTREAM, r" valid=1s", " valid=60s"),
    (addresses_are_asked_for_again, UPSTREAM, r" valid=1s", ""),
    (one_failure_takes_no_server_out, UPSTREAM, r"max_fails=3", "max_fails=1"),
    (open_files_suffice, "nginx/templates/main/workers.conf.template", r"worker_rlimit_nofile [^;]+;", "worker_rlimit_nofile 64;"),
    (temp_files_fit, SLOW, r"\$\{ANSWER_FILE_SIZE\}", "64m"),
    (temp_files_fit, COMPOSE, r"body:size=120m", "body:size=60m"),
    (uploads_of_all_threads_fit, COMPOSE, r"size=192m", "size=64m"),
    (gunicorn_takes_the_headers_that_nginx_passes, CONF, r"limit_request_field_size = \d+", "limit_request_field_size = 8190"),
    (gunicorn_takes_the_headers_that_nginx_passes, CONF, r"limit_request_line = \d+", "limit_request_line = 4094"),
    (gunicorn_takes_the_headers_that_nginx_passes, LIMITS, r"max_headers \d+;", "max_headers 94;"),
    (the_waf_takes_what_the_gateway_passes, FROM_GATEWAY, r"max_headers 110;", "max_headers 99;"),
    (the_waf_takes_what_the_gateway_passes, FROM_GATEWAY, r"keepalive_timeout 75s;", "keepalive_timeout 5s;"),
    (idle_connections_fit_in_a_worker, UPSTREAM, r"keepalive_timeout 1s;", "keepalive 1200;"),
)


def facts_of(root: Path) -> Facts:
    return from_files(root, compose.read(root))


@pytest.fixture(scope="module")
def kit() -> Facts:
    return facts_of(ROOT)


@pytest.mark.parametrize("agreement", dict.fromkeys(case[0] for case in CASES), ids=lambda agreement: agreement.__name__)
def test_the_files_agree(kit: Facts, agreement: Agreement) -> None:
    assert agreement(kit)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0].__name__}: {case[3] or 'left out'}")
def test_an_edit_breaks_it(tmp_path: Path, case: tuple[Agreement, str, str, str]) -> None:
    """The twin."""
    agreement, file, old, new = case
    edited = Kit(tmp_path / "kit", app=False)
    edited.edit(file, old, new)

    assert not agreement(facts_of(edited.root))
