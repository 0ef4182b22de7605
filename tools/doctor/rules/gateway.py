"""What only nginx decides: buffers, retries, health of its upstream, discovery, its own version."""

from collections.abc import Iterator

from tools.doctor.facts import Facts, Nginx, need
from tools.doctor.rules.base import Judgement, Rule, at_the_edge, broken, directive, from_node, handing_on, not_applicable, ok, warn
from tools.doctor.tree import Node, Scope, scopes
from tools.doctor.units import Version, seconds, show_seconds, show_version
from tools.doctor.values import NotKnown, Origin, Setting

# CVE-2026-42533: a heap overflow when a regular expression in a `map` is used after a capture.
SAFE_VERSION: Version = (1, 30, 4)
# Name of the directive -> first version that knows it.
SINCE: dict[str, Version] = {
    "worker_shutdown_timeout": (1, 11, 11),
    "limit_req_dry_run": (1, 17, 1),
    "limit_conn_dry_run": (1, 17, 6),
    "ssl_reject_handshake": (1, 19, 4),
    "keepalive_time": (1, 19, 10),
    "http3": (1, 25, 0),
    "http2": (1, 25, 1),
    "keepalive_min_timeout": (1, 27, 4),
    "ssl_certificate_cache": (1, 27, 4),
    "early_hints": (1, 29, 0),
    "add_header_inherit": (1, 29, 3),
    "sticky": (1, 29, 6),
    "max_headers": (1, 29, 8),
}
# An argument that a directive learned later than the directive itself.
ARGUMENT_SINCE: dict[tuple[str, str], Version] = {
    ("server", "resolve"): (1, 27, 3),
    ("keepalive", "local"): (1, 29, 7),
}
# Longest time, in seconds, for which an address that is gone may still be asked.
LONGEST_VALID = 10.0
FEWEST_FAILS = 2


def _version(facts: Facts) -> Judgement:
    nginx = need(facts.nginx)
    version = _known_version(nginx)
    for node, since in _needs(nginx.tree):
        if version.value < since:
            what = from_node(node, " ".join((node.name, *node.args)))
            return broken(f"{node.name} needs {show_version(since)}, this is {version.shown}", version, what)
    if version.value < SAFE_VERSION:
        return warn(
            f"{version.shown} is older than {show_version(SAFE_VERSION)}: CVE-2026-42533 (a map with regular "
            "expressions can be made to overflow the heap) is open unless its packager fixed it",
            version,
            edit=(f"install nginx {show_version(SAFE_VERSION)} or newer",),
        )
    return ok(f"{version.shown} knows every directive, and is not older than {show_version(SAFE_VERSION)}", version)


def _known_version(nginx: Nginx) -> Setting[Version]:
    if nginx.version is None:
        raise NotKnown("no nginx is here that could say its version (the image is not built, none is installed)")
    return nginx.version


def _needs(tree: Node) -> Iterator[tuple[Node, Version]]:
    for node in tree.walk():
        if node.name in SINCE:
            yield node, SINCE[node.name]
        for argument in node.args:
            if (node.name, argument) in ARGUMENT_SINCE:
                yield node, ARGUMENT_SINCE[node.name, argument]


def _buffering(facts: Facts) -> Judgement:
    places = at_the_edge(need(facts.nginx))
    for scope in places:
        for name in ("proxy_request_buffering", "proxy_buffering"):
            setting = directive(scope, name, "on", str)
            if setting.value != "on":
                return broken(f"{name} is {setting.value} in {_name(scope)}", setting)
        spill = directive(scope, "proxy_max_temp_file_size", "1024m", str)
        if spill.value == "0":
            return broken(f"answers of {_name(scope)} may not spill to disk", spill)
    return ok(f"on in all {len(places)} places that proxy")


def _name(scope: Scope) -> str:
    here = scope.here
    return " ".join((here.name, *here.args)) + f" ({here.origin})"


def _retries(facts: Facts) -> Judgement:
    found: list[Setting[str]] = []
    for scope in handing_on(need(facts.nginx)):
        node = scope.find("proxy_next_upstream")
        args = node.args if node else ("error", "timeout")
        origin = node.origin if node else Origin("nginx's default")
        found.append(Setting("proxy_next_upstream", " ".join(args), " ".join(args), origin, node is not None))
        if "non_idempotent" in args:
            return broken("a POST that was already sent may be sent again", found[-1])
    return ok("a POST is sent again only when nothing of it was sent", *dict.fromkeys(found))


def _resolver(facts: Facts) -> Judgement:
    nginx = need(facts.nginx)
    resolving = [up for up in scopes(nginx.tree, "upstream") if any("resolve" in s.args for s in up.here.all("server"))]
    if not resolving:
        return not_applicable("no upstream is found by DNS")
    judged = [_valid(scope) for scope in resolving]
    longest = max(judged, key=lambda setting: setting.value)
    if longest.value > LONGEST_VALID:
        return broken(f"{longest.shown} is longer than {show_seconds(LONGEST_VALID)}", longest)
    return ok(f"addresses are asked for again after {longest.shown}", longest)


def _valid(scope: Scope) -> Setting[float]:
    node = scope.find("resolver")
    if node is None:
        return Setting("resolver", float("inf"), "none at all", scope.here.origin)
    for argument in node.args:
        if argument.startswith("valid="):
            return from_node(node, seconds(argument.removeprefix("valid=")), show_seconds)
    # Docker's own DNS says 600.
    return from_node(node, float("inf"), lambda _: "as long as the DNS server says (Docker: 600 s)")


def _failures(facts: Facts) -> Judgement:
    found = [setting for scope in scopes(need(facts.nginx).tree, "upstream") for setting in _max_fails(scope)]
    if not found:
        return not_applicable("nginx has one server to ask and never takes it out")
    fewest = min(found, key=lambda setting: setting.value)
    if fewest.value < FEWEST_FAILS:
        return broken(f"max_fails={fewest.value}", fewest)
    return ok(f"max_fails={fewest.value}", fewest)


def _max_fails(upstream: Scope) -> Iterator[Setting[int]]:
    servers = upstream.here.all("server")
    if len(servers) == 1 and "resolve" not in servers[0].args:
        return  # nginx ignores max_fails when there is nobody else to ask
    for node in servers:
        if "backup" in node.args:
            continue  # asked when all others are out: that these never are is their point
        given = [a.removeprefix("max_fails=") for a in node.args if a.startswith("max_fails=")]
        yield from_node(node, int(given[-1]) if given else 1, lambda fails: f"max_fails={fails}")


RULES = (
    Rule(
        "nginx-version",
        "nginx knows the directives that are used, and has no known hole",
        "nginx refuses to start, or a request can overflow its memory",
        _version,
    ),
    Rule(
        "buffering",
        "request and answer are buffered wherever nginx proxies",
        "a slow client holds a gunicorn worker for as long as it likes",
        _buffering,
    ),
    Rule(
        "retries",
        "proxy_next_upstream never repeats a request that may have been processed",
        "an order is placed twice",
        _retries,
    ),
    Rule(
        "resolver-valid",
        f"addresses of the app are asked for again within {show_seconds(LONGEST_VALID)}",
        "after scaling, new containers get no requests and removed ones still do",
        _resolver,
    ),
    Rule(
        "max-fails",
        f"a server is taken out after {FEWEST_FAILS} failures or more, not after one",
        "one reset connection on each container makes every request fail with 502 until fail_timeout is over",
        _failures,
    ),
)
