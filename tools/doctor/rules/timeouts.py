"""Who gives up first: gunicorn before nginx, a request before its container."""

from tools.doctor.facts import APP, GATEWAY, Facts, need
from tools.doctor.rules.base import Judgement, Rule, below, broken, directive, handing_on, not_applicable, worst
from tools.doctor.tree import Scope, scopes
from tools.doctor.units import seconds, show_seconds
from tools.doctor.values import Setting

# From this version on nginx keeps upstream connections open without being asked to.
KEEPALIVE_BY_DEFAULT = (1, 29, 7)
# These worker classes keep a connection as long as the peer does, or close it after each answer.
NEVER_IDLE = {
    "sync": "a sync worker closes the connection after every answer",
    "tornado": "a tornado worker does not close idle connections",
    "gevent_pywsgi": "a gevent_pywsgi worker does not close idle connections",
    "gevent_wsgi": "a gevent_wsgi worker does not close idle connections",
}


def _request(facts: Facts) -> Judgement:
    timeout = need(facts.gunicorn).get("timeout")
    read = worst(need(facts.nginx), "proxy_read_timeout", "60s", seconds, show_seconds)
    if timeout.value == 0:
        return broken("gunicorn never gives up (timeout 0)", timeout, read)
    return below(timeout, read)


def _app_stop(facts: Facts) -> Judgement:
    graceful = need(facts.gunicorn).get("graceful_timeout")
    return below(graceful, need(facts.compose).service(APP).stop_grace)


def _gateway_stop(facts: Facts) -> Judgement:
    grace = need(facts.compose).service(GATEWAY).stop_grace
    main = Scope((need(facts.nginx).tree,))
    drain = directive(main, "worker_shutdown_timeout", "0s", seconds, show_seconds)
    if not drain.editable:
        return broken("worker_shutdown_timeout is not set: a slow client holds the old worker for ever", drain, grace)
    return below(drain, grace)


def _keepalive(facts: Facts) -> Judgement:
    gunicorn, nginx = need(facts.gunicorn), need(facts.nginx)
    worker_class, keepalive = gunicorn.get("worker_class"), gunicorn.get("keepalive")
    if worker_class.value in NEVER_IDLE:
        return not_applicable(NEVER_IDLE[worker_class.value], worker_class)
    handing_on(nginx)
    kept = [upstream for upstream in scopes(nginx.tree, "upstream") if _keeps(upstream, nginx.version)]
    if not kept:
        return not_applicable("nginx keeps no idle connection to gunicorn", worker_class)
    idle = [directive(upstream, "keepalive_timeout", "60s", seconds, show_seconds) for upstream in kept]
    return below(max(idle, key=lambda setting: float(setting.value)), keepalive)


def _keeps(upstream: Scope, version: Setting[tuple[int, ...]] | None) -> bool:
    servers = upstream.here.all("server")
    if all(server.args[0].startswith("unix:") for server in servers):
        return False  # the hop to the firewall inside the same nginx: gunicorn is not at its end
    asked = upstream.here.all("keepalive")
    if asked:
        return asked[-1].args[0] != "0"
    return version is None or version.value >= KEEPALIVE_BY_DEFAULT


RULES = (
    Rule(
        "request-timeout",
        "gunicorn timeout < nginx proxy_read_timeout",
        "nginx would answer 504 and turn to another worker while the first still works on the request",
        _request,
    ),
    Rule(
        "app-stop",
        "gunicorn graceful_timeout < stop_grace_period of app",
        "the container would be killed while gunicorn still lets its requests finish",
        _app_stop,
    ),
    Rule(
        "gateway-stop",
        "nginx worker_shutdown_timeout < stop_grace_period of gateway",
        "the gateway would be killed while clients still read their answers",
        _gateway_stop,
    ),
    Rule(
        "upstream-keepalive",
        "nginx upstream keepalive_timeout < gunicorn keepalive",
        "gunicorn would close idle connections in the moment nginx sends a request on them, and a POST fails with 502",
        _keepalive,
    ),
)
