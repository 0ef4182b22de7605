"""The rules: those that need an edited or a foreign configuration, or the running stack, in the order of a request.

The name of the function is the rule's; its docstring says what must hold and, after "Else", what happens when it does not.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any, NamedTuple

from tools.doctor.facts import Facts
from tools.doctor.nginx import Nginx, Scope, scopes
from tools.doctor.values import NotKnown, Origin, Setting, need, seconds, setting_of, show_bytes, show_seconds, size_bytes
from tools.swarm.stack_file import losses

# Memory of a Python process with Flask, SQLAlchemy and a driver, of gunicorn's master, and of nginx, before they do any work.
WORKER_BYTES, MASTER_BYTES, NGINX_BYTES = 56 * 1024**2, 32 * 1024**2, 32 * 1024**2
WIDEST = {4: 8, 6: 7}  # larger networks are nobody's list of load balancers
OFF = frozenset({"", "0", "off", "no", "false"})
Network = IPv4Network | IPv6Network


class Verdict(StrEnum):
    """How a rule ended. NOT_APPLICABLE: the question does not arise; NOT_CHECKED: nobody could answer it."""

    OK = "ok"
    BROKEN = "BROKEN"
    WARN = "warn"
    NOT_APPLICABLE = "n/a"
    NOT_CHECKED = "not checked"


@dataclass(frozen=True, slots=True)
class Judgement:
    """One line of what was found, and the values that it rests on."""

    verdict: Verdict
    says: str
    values: Sequence[Setting] = ()

    @property
    def edit(self) -> tuple[str, ...]:
        """Return where to change it; a default is changed by writing it."""
        wrong = self.verdict in {Verdict.BROKEN, Verdict.WARN}
        return tuple(dict.fromkeys(f"{value.name} in {value.origin}" for value in self.values if wrong and value.editable))


Judge = Callable[[Facts], Judgement]
RULES: dict[str, Judge] = {}


def rule(judge: Judge) -> Judge:
    """Register a rule; it raises NotKnown when a fact is missing."""
    RULES[judge.__name__.replace("_", "-")] = judge
    return judge


def judged(right: object, says: str, *values: Setting, otherwise: Verdict = Verdict.BROKEN) -> Judgement:
    return Judgement(Verdict.OK if right else otherwise, says, values)


def not_applicable(says: str, *values: Setting) -> Judgement:
    return Judgement(Verdict.NOT_APPLICABLE, says, values)


def below(smaller: Setting, larger: Setting) -> Judgement:
    return judged(smaller.value < larger.value, f"{smaller.shown} and {larger.shown}", smaller, larger)


class Directive(NamedTuple):
    """A directive of nginx, with its default, and how its argument number `at` is read and shown."""

    name: str
    default: str
    read: Callable[[str], Any] = str
    show: Callable[[Any], str] = str
    at: int = 0

    def at_scope(self, scope: Scope) -> Setting:
        """Return what is in force there."""
        node = scope.find(self.name)
        value = self.read(node.args[self.at]) if node else self.read(self.default)
        return Setting(self.name, value, self.show(value), node.origin if node else Origin("nginx's default"), editable=bool(node))

    def everywhere(self, nginx: Nginx) -> list[Setting]:
        """Return what is in force in each place that passes requests on, the smallest first."""
        if not nginx.proxying():
            raise NotKnown("the nginx configuration passes no request on (no proxy_pass)")
        return sorted(dict.fromkeys(map(self.at_scope, nginx.proxying())), key=lambda setting: setting.value)


BODY_SIZE = Directive("client_max_body_size", "1m", size_bytes, show_bytes)


# --- Timeouts


@rule
def request_timeout(facts: Facts) -> Judgement:
    """gunicorn timeout < nginx proxy_read_timeout. Else nginx answers 504 while the worker still works on the request."""
    timeout, read = need(facts.application).get("timeout"), Directive("proxy_read_timeout", "60s", seconds, show_seconds)
    shortest = min((read.everywhere(nginx)[0] for _, nginx in facts.chain()), key=lambda setting: setting.value)
    return below(timeout, shortest) if timeout.value else judged(False, "gunicorn never gives up (timeout 0)", timeout, shortest)


@rule
def stop(facts: Facts) -> Judgement:
    """gunicorn graceful_timeout and nginx worker_shutdown_timeout < stop_grace_period. Else Docker cuts requests in flight."""
    pairs = [(need(facts.application).get("graceful_timeout"), facts.service("app").stop_grace)]
    for name, nginx in facts.chain():
        drain = Directive("worker_shutdown_timeout", "0s", seconds, show_seconds).at_scope(Scope((nginx.tree,)))
        pairs.append((drain if drain.editable else replace(drain, value=float("inf"), shown="no limit"), facts.service(name).stop_grace))
    for drain, grace in pairs:
        if drain.value >= grace.value:
            return below(drain, grace)
    return judged(True, "for each of them", *(value for pair in pairs for value in pair))


@rule
def upstream_keepalive(facts: Facts) -> Judgement:
    """nginx upstream keepalive_timeout < gunicorn keepalive. Else gunicorn closes an idle connection as a POST comes: 502."""
    worker_class, (_, last) = need(facts.application).get("worker_class"), list(facts.chain())[-1]
    if worker_class.value not in {"gthread", "gevent"}:
        return not_applicable(f"a {worker_class.value} worker closes no idle connection by that time", worker_class)
    idle = Directive("keepalive_timeout", "60s", seconds, show_seconds)
    found = [idle.at_scope(scope) for scope in scopes(last.tree, "upstream") if scope.here.args[0] != "waf"]
    if not found:
        return not_applicable("nginx keeps no idle connection to gunicorn (no upstream block)", worker_class)
    return below(max(found, key=lambda setting: setting.value), need(facts.application).get("keepalive"))


@rule
def upstream_names(facts: Facts) -> Judgement:
    """Every host that nginx passes requests to is a service beside it. Else all looks healthy, and visitors get 502 or 503."""
    for name, nginx in facts.chain():
        upstreams = {scope.here.args[0]: scope.here.all("server") for scope in scopes(nginx.tree, "upstream")}
        targets = [node for scope in nginx.proxying() for node in scope.here.all("proxy_pass")]
        direct = [node for node in targets if node.args[0].split("/")[2].partition(":")[0] not in upstreams]
        known = need(facts.services).neighbours(name)
        for node in [*(server for target in targets for server in upstreams.get(target.args[0].split("/")[2], ())), *direct]:
            host = node.args[0].rpartition("//")[2].partition("/")[0].partition(":")[0]
            if re.fullmatch(r"[a-z][\w-]*(\.[\w-]+\.svc\..+)?", host) and host not in {*known, "unix", "localhost"}:
                said = f"nobody on the networks of {name} has the name {host}; there are {', '.join(sorted(known))}"
                return judged(False, said, Setting(node.name, host, host, node.origin))
    return judged(True, "all of them")


# --- Request sizes


@rule
def body_size(facts: Facts) -> Judgement:
    """client_max_body_size of nginx = MAX_CONTENT_LENGTH of Flask. Else a body between the two is refused late, by a bare page."""
    flask, bodies = need(facts.application).max_content_length, BODY_SIZE.everywhere(need(facts.gateway))
    within = [one for name, nginx in facts.chain() if name == "waf" for one in BODY_SIZE.everywhere(nginx)]
    if flask.value is None:
        return judged(False, f"only nginx bounds a body ({bodies[0].shown})", *bodies, flask, otherwise=Verdict.WARN)
    wrong = [body for body in within if body.value not in {0, flask.value}]
    same = not wrong and all(body.value == flask.value for body in bodies)
    return judged(same, f"nginx {bodies[0].shown}, Flask {flask.shown}", *wrong, *bodies, flask)


# --- Trust and exposure


def networks(words: Iterable[str]) -> frozenset[Network]:
    return frozenset(ip_network(word, strict=False) for word in words if word)


def too_wide(found: Iterable[Network]) -> bool:
    return any(network.prefixlen < WIDEST[network.version] for network in found)


@rule
def trusted_proxies(facts: Facts) -> Judgement:
    """nginx believes TRUSTED_PROXIES, gunicorn its network, neither everybody. Else a client chooses the address in limits and logs."""
    nginx, allowed = need(facts.gateway), need(facts.application).get("forwarded_allow_ips")
    words = allowed.value.split(",") if isinstance(allowed.value, str) else allowed.value
    if "*" in words or too_wide(networks(words)):
        return judged(False, allowed.shown, allowed)
    asked = setting_of(nginx.environment, "TRUSTED_PROXIES", "")
    nodes = list(nginx.tree.walk())
    real_ip = [Setting(n.name, n.args[0], n.args[0], n.origin) for n in nodes if n.name == "set_real_ip_from"]
    trusted = (entry for block in nodes if block.name == "geo" for entry in block.children)
    https = [
        Setting("geo", n.name, n.name, n.origin) for n in trusted if re.fullmatch(r"[\d:.a-fA-F]+(/\d+)?", n.name) and n.name != "default"
    ]
    believed = [networks(setting.value for setting in one) for one in (real_ip, https)]
    wanted = networks(re.split(r"[, ]+", asked.value))
    if too_wide(wanted.union(*believed)):
        return judged(False, "everybody may say which address a request comes from", asked, *real_ip, *https)
    return judged(believed == [wanted, wanted], asked.shown if wanted else "no TRUSTED_PROXIES", asked, *real_ip, *https, allowed)


@rule
def lab_private(facts: Facts) -> Judgement:
    """The lab is not reachable from other machines. Else its routes burn processor time and memory for whoever asks."""
    lab = setting_of(need(facts.application).environment, "LAB_ENABLED", "0")
    if lab.value.lower() in OFF:
        return judged(True, "the lab is off", lab)
    public = [port for port in facts.service("gateway").ports if not port.shown.startswith(("127.", "::1"))]
    return judged(not public, "the lab is on", lab, *public, otherwise=Verdict.WARN)


@rule
def limits_on(facts: Facts) -> Judgement:
    """The limits of each client are on in production. Else one client can take every worker."""
    limits = setting_of(need(facts.gateway).environment, "LIMITS", "on")
    mode = setting_of(need(facts.application).environment, "APP_ENV", "production")
    if mode.value == "development":
        return not_applicable("this is development", limits, mode)
    return judged(limits.value.lower() not in OFF, f"limits are {limits.value}", limits, mode, otherwise=Verdict.WARN)


@rule
def session_key(facts: Facts) -> Judgement:
    """The key that signs sessions is the same in each worker. Else a visitor is signed in only where the cookie was made."""
    key = need(facts.application).secret_key
    if key.value is None:
        return not_applicable("the application has no secret_key", key)
    return judged(key.value, "the same in two processes" if key.value else "another one in each process", key)


@rule
def database_driver(facts: Facts) -> Judgement:
    """DATABASE_URL names its driver. Else SQLAlchemy chooses: psycopg since 2.1, psycopg2 before; an update may not start."""
    url = setting_of(need(facts.application).environment, "DATABASE_URL", "")
    if not url.value.startswith("postgres"):
        return not_applicable("no PostgreSQL", url)
    scheme = url.value.partition(":")[0]
    return judged("+" in scheme, f"{scheme}://", replace(url, shown=f"{scheme}://..."), otherwise=Verdict.WARN)


@rule
def swarm(facts: Facts) -> Judgement:
    """Swarm does what the files say. Else it leaves out what protects, or opens a port to the world, without a word."""
    services = need(facts.services)
    if "x-swarm" not in services.model:
        return judged(True, "compose/swarm.yaml is not in COMPOSE_FILE")
    lost = [(services.get(loss.service).at(loss.key), loss) for loss in losses(services.model)]
    shown = [Setting(f"{loss.service} {loss.key}", loss.value, f"{loss.value}: {loss.instead}", origin) for origin, loss in lost]
    return judged(not lost, f"{len(lost)} are lost; compose/swarm.yaml may reset what is not needed", *shown, otherwise=Verdict.WARN)


# --- Capacity


@rule
def database_connections(facts: Facts) -> Judgement:
    """replicas x workers x pool ≤ connections of the database. Else the last replicas get `too many clients`, under load."""
    replicas, workers = facts.service("app").replicas, need(facts.application).get("workers")
    (size, overflow), (most, reserved) = need(facts.application).pool, need(facts.database)
    wanted, free = replicas.value * workers.value * (size.value + overflow.value), most.value - reserved.value
    says = f"{replicas.value} replicas x {workers.value} workers x {size.value + overflow.value} = {wanted}, of {free}"
    asked = (replicas, workers, size, overflow)
    if "@pgbouncer:" in setting_of(need(facts.application).environment, "DATABASE_URL", "").value:
        pool, clients = (facts.service("pgbouncer").environment[f"PGBOUNCER_{name}"] for name in ("POOL_SIZE", "CLIENTS"))
        fits = wanted <= int(clients.value) and int(pool.value) <= free
        says = f"{says.rpartition(',')[0]}, of PgBouncer's {clients.value}; its {pool.value}, of {free}"
        return judged(overflow.value >= 0 and fits, says, *asked, clients, pool, most, reserved)
    return judged(overflow.value >= 0 and wanted <= free, says, *asked, most, reserved)


@rule
def pool_threads(facts: Facts) -> Judgement:
    """Database pool ≥ threads of a worker. Else threads wait for each other's connection while the database is idle."""
    app, (size, overflow) = need(facts.application), need(facts.application).pool
    if app.get("worker_class").value == "gevent":
        return not_applicable("greenlets share a few connections on purpose", app.get("worker_class"), size)
    threads, most = app.get("threads"), size.value + overflow.value
    return judged(overflow.value < 0 or most >= threads.value, f"{most} connections for {threads.value} threads", threads, size, overflow)


@rule
def memory_workers(facts: Facts) -> Judgement:
    """Memory limit of app ≥ what its workers need. Else the kernel kills a worker in the middle of a request."""
    workers, memory = need(facts.application).get("workers"), facts.service("app").memory
    floor = MASTER_BYTES + workers.value * WORKER_BYTES
    says = f"{workers.value} workers need {show_bytes(floor)} or more, of {memory.shown}"
    return judged(memory.value is not None and floor <= memory.value, says, workers, memory)


@rule
def tmpfs_memory(facts: Facts) -> Judgement:
    """A tmpfs has a size, and fits in its container's memory. Else the kernel kills the service."""
    for service in need(facts.services).all.values():
        mounts, memory = service.tmpfs, service.memory
        total = sum(mount.value or 0 for mount in mounts.values())
        if unbounded := [mount for mount in mounts.values() if mount.value is None]:
            return judged(False, f"{service.name}: it may take half of the host's memory", *unbounded)
        if mounts and memory.value is not None and total + NGINX_BYTES > memory.value:
            return judged(False, f"{service.name}: {show_bytes(total)} of tmpfs in {memory.shown}", *mounts.values(), memory)
    return judged(True, "all of them")


@rule
def in_flight(facts: Facts) -> Judgement:
    """max_conns ≥ what the workers serve at once. Else visitors are refused while workers are idle; without one all wait."""
    app, replicas, chain = need(facts.application), facts.service("app").replicas, dict(facts.chain())
    gevent, name = app.get("worker_class").value == "gevent", "waf" if "waf" in chain else "app"
    workers, each = app.get("workers"), app.get("worker_connections" if gevent else "threads")
    servers = (n for s in scopes(chain["gateway"].tree, "upstream") if s.here.args[0] == name for n in s.here.all("server"))
    bounds = [
        Setting("max_conns", int(word[10:]), word[10:], n.origin) for n in servers for word in n.args if word.startswith("max_conns=")
    ]
    total = sum(bound.value for bound in bounds) * facts.service(name).replicas.value * facts.service("gateway").replicas.value
    if not total:
        return judged(False, "nothing bounds how many requests wait for a worker", *bounds, otherwise=Verdict.WARN)
    slots = replicas.value * workers.value * each.value
    return judged(gevent or total >= slots, f"{total} are let in, {slots} can be served at once", *bounds, replicas, workers, each)
