"""How large a request may be: what nginx lets through, gunicorn, Flask and the firewall must accept."""

from typing import Any

from tools.doctor.facts import Facts, Gunicorn, Nginx, Waf, need
from tools.doctor.rules.base import Judgement, Rule, at_the_edge, broken, directive, from_node, handing_on, ok, warn, worst
from tools.doctor.tree import Scope
from tools.doctor.units import show_bytes, show_version, size_bytes
from tools.doctor.values import Origin, Setting

# The first nginx that counts header fields.
HAS_MAX_HEADERS = (1, 29, 8)
# nginx writes "Name: value" even when the client left the space out (tried: a field that fills the buffer grows by it).
ADDED_SPACE = 1
# The buffer holds the request line with its CRLF, which gunicorn does not count.
CRLF = 2
# gunicorn takes no larger value for a request line; 0 turns the limit off.
UNLIMITED = 0


def _body(facts: Facts) -> Judgement:
    nginx = need(facts.nginx)
    bodies = [directive(scope, "client_max_body_size", "1m", size_bytes, show_bytes) for scope in handing_on(nginx)]
    flask = need(facts.app).max_content_length
    values: tuple[Setting[Any], ...] = (*dict.fromkeys(bodies), flask)
    if any(body.value == UNLIMITED for body in bodies):
        return broken("nginx takes bodies of any size", *values)
    if flask.value is None:
        return warn(f"only nginx bounds a body ({bodies[0].shown}); Flask's own limit is not set", *values)
    different = [body for body in bodies if body.value != flask.value]
    if different:
        return broken(f"nginx {different[0].shown}, Flask {flask.shown}", *values)
    return _with_firewall(facts, ok(f"both {flask.shown}", *values))


def _with_firewall(facts: Facts, agreed: Judgement) -> Judgement:
    if not isinstance(facts.waf, Waf):
        return agreed
    limit, body = facts.waf.body_limit, agreed.values[-1]
    if facts.waf.uploads_apart:
        return _with_uploads_apart(facts.waf, agreed)
    if limit.value < body.value:
        return broken(f"the WAF stops at {limit.shown}, Flask takes {body.shown}", *agreed.values, limit)
    return ok(f"{agreed.says}, the WAF takes {limit.shown}", *agreed.values, limit)


def _with_uploads_apart(waf: Waf, agreed: Judgement) -> Judgement:
    """Forms with files above the WAF's limit go another way; what else it cannot read is refused by its own rules."""
    inspected = [setting for setting in (waf.body_limit, waf.no_files_limit, waf.arguments) if setting is not None]
    small, values = waf.no_files_limit, waf.arguments
    if small is None or values is None:
        return broken("the WAF has no bound for bodies without files, or for their values", *agreed.values, *inspected)
    if small.value > waf.body_limit.value:
        return broken(f"the WAF reads {small.shown} without files, but only {waf.body_limit.shown} of any", *agreed.values, *inspected)
    says = f"forms with files, other bodies up to {small.shown} and {values.shown} values: more is refused by the WAF"
    return ok(f"{agreed.says} for {says}", *agreed.values, *inspected)


def _largest_buffer(nginx: Nginx) -> Setting[int]:
    """The size of one `large_client_header_buffers` buffer: no line of a request header can be longer."""
    settings = [_buffer(scope) for scope in at_the_edge(nginx)]
    return max(settings, key=lambda setting: setting.value)


def _buffer(scope: Scope) -> Setting[int]:
    node = scope.find("large_client_header_buffers")
    if node is None:
        return Setting("large_client_header_buffers", 8192, "8 KiB", Origin("nginx's default"), editable=False)
    return from_node(node, size_bytes(node.args[1]), show_bytes)


def _field(facts: Facts) -> Judgement:
    buffer, limit = _largest_buffer(need(facts.nginx)), _gunicorn_bytes(facts, "limit_request_field_size")
    longest = buffer.value + ADDED_SPACE
    if limit.value == UNLIMITED or longest <= limit.value:
        return ok(f"a line of at most {longest} B, gunicorn takes {limit.shown}", buffer, limit)
    return broken(f"nginx passes a line of {longest} B, gunicorn takes {limit.shown}", buffer, limit)


def _request_line(facts: Facts) -> Judgement:
    buffer, limit = _largest_buffer(need(facts.nginx)), _gunicorn_bytes(facts, "limit_request_line")
    longest = buffer.value - CRLF
    if limit.value == UNLIMITED or longest <= limit.value:
        return ok(f"at most {longest} B, gunicorn takes {limit.shown}", buffer, limit)
    return broken(f"nginx passes {longest} B, gunicorn takes {limit.shown}", buffer, limit)


def _gunicorn_bytes(facts: Facts, name: str) -> Setting[int]:
    gunicorn: Gunicorn = need(facts.gunicorn)
    setting = gunicorn.get(name)
    shown = "any length" if setting.value == UNLIMITED else f"{setting.value} B"
    return Setting(setting.name, setting.value, shown, setting.origin, setting.editable)


def _count(facts: Facts) -> Judgement:
    nginx = need(facts.nginx)
    limit = need(facts.gunicorn).get("limit_request_fields")
    allowed = worst(nginx, "max_headers", "1000", int, str, pick=max, places=at_the_edge)
    version = nginx.version
    if not allowed.editable and version is not None and version.value < HAS_MAX_HEADERS:
        return warn(
            f"nginx {version.shown} cannot count header fields (max_headers came with "
            f"{show_version(HAS_MAX_HEADERS)}): gunicorn refuses them with its own bare page",
            version,
            limit,
            edit=(f"install nginx {show_version(HAS_MAX_HEADERS)} or newer",),
        )
    added = max(len(_added_fields(scope)) for scope in handing_on(nginx))
    if allowed.value + added <= limit.value:
        return ok(f"{allowed.value} of the client + {added} of nginx ≤ {limit.value}", allowed, limit)
    return broken(f"{allowed.value} of the client + {added} of nginx > {limit.value}", allowed, limit)


def _added_fields(scope: Scope) -> frozenset[str]:
    """Header fields that nginx adds to what the client sent; Host only replaces the client's own."""
    named = {node.args[0].lower() for node in scope.find_all("proxy_set_header") if node.args[1:] not in ((), ("",))}
    return frozenset(named - {"host"})


RULES = (
    Rule(
        "body-size",
        "client_max_body_size of nginx = MAX_CONTENT_LENGTH of Flask",
        "a body between the two limits is refused late, by a bare error page, or after it was stored on disk",
        _body,
    ),
    Rule(
        "header-line",
        "a header line that nginx takes, gunicorn takes (limit_request_field_size)",
        "the client gets gunicorn's bare 431 instead of the gateway's error page, and a worker was bothered",
        _field,
    ),
    Rule(
        "request-line",
        "a request line that nginx takes, gunicorn takes (limit_request_line)",
        "a long URL that nginx let through is refused by gunicorn with a bare error page",
        _request_line,
    ),
    Rule(
        "header-count",
        "max_headers of nginx + the fields it adds ≤ gunicorn limit_request_fields",
        "requests that nginx took are refused by gunicorn with a bare 431",
        _count,
    ),
)
