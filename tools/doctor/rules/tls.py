"""TLS: a certificate that browsers take, and no promise of TLS or of HTTP/3 that is not kept."""

import re
from collections.abc import Iterator

from tools.doctor.facts import GATEWAY, Compose, Facts, Nginx, need
from tools.doctor.rules.base import Judgement, Rule, broken, from_node, not_applicable, ok, warn
from tools.doctor.rules.trust import setting_of
from tools.doctor.tree import Node
from tools.doctor.values import NotKnown, Setting

_H3 = re.compile(r'h3="[^":]*:(\d+)"')


def _listeners(nginx: Nginx, word: str) -> list[Node]:
    return [node for node in nginx.tree.walk() if node.name == "listen" and word in node.args[1:]]


def _certificate(facts: Facts) -> Judgement:
    if not _listeners(need(facts.nginx), "ssl"):
        return not_applicable("this nginx speaks no TLS")
    found = need(facts.certificate)
    if found.problem:
        return broken(found.problem, found.file)
    if found.remarks:
        return warn("; ".join(found.remarks), found.file)
    return ok("can be read, has not expired, fits its key, and names every name of SERVER_NAMES", found.file)


def _values(nginx: Nginx, header: str) -> Iterator[tuple[str, Setting[str]]]:
    """What an answer may carry in this header: for each value the scheme it is for ("": any) and where it stands."""
    maps = {node.args[-1]: node for node in nginx.tree.walk() if node.name == "map"}
    for node in dict.fromkeys(node for node in nginx.tree.walk() if node.name == "add_header" and node.args[0].lower() == header):
        value = node.args[1]
        if not value.startswith("$"):
            yield "", Setting(node.args[0], value, value, node.origin)
            continue
        if value not in maps:
            raise NotKnown(f"{value} of {node.args[0]} ({node.origin}) is made by no map")
        for entry in maps[value].children:
            if entry.args and entry.args[0]:
                scheme = "https" if entry.name == "https" else ""
                yield scheme, Setting(node.args[0], entry.args[0], entry.args[0], entry.origin)


def _hsts(facts: Facts) -> Judgement:
    nginx = need(facts.nginx)
    promised = list(dict.fromkeys(_values(nginx, "strict-transport-security")))
    if not promised:
        return not_applicable("HSTS is off")
    plain = [value for scheme, value in promised if scheme != "https"]
    if plain:
        return broken("it is also sent to who came over plain HTTP, where anybody on the way can write it", *plain)
    values = tuple(value for _, value in promised)
    tls, proxies = setting_of(nginx.environment, "TLS", "off"), setting_of(nginx.environment, "TRUSTED_PROXIES")
    if not _listeners(nginx, "ssl") and not proxies.value:
        return broken("nobody comes over TLS: neither this nginx nor a load balancer in TRUSTED_PROXIES ends it", *values, tls, proxies)
    return ok("sent over TLS alone", *values)


def _http3(facts: Facts) -> Judgement:
    nginx = need(facts.nginx)
    promised = [(match[1], value) for _, value in _values(nginx, "alt-svc") if (match := _H3.search(value.value))]
    listening = {node.args[0].rpartition(":")[2]: from_node(node, " ".join(node.args)) for node in _listeners(nginx, "quic")}
    if not promised and not listening:
        return not_applicable("HTTP/3 is off")
    if not promised:
        return broken("nginx listens for HTTP/3, and no answer says so (Alt-Svc)", *listening.values())
    for port, value in dict.fromkeys(promised):
        if not listening:
            return broken("no listener is there for it", value)
        if isinstance(facts.compose, Compose):
            ports = facts.compose.service(GATEWAY).ports
            published = {p.published for p in ports.value if p.protocol == "udp" and str(p.target) in listening}
            if port not in published:
                return broken(f"the gateway does not publish UDP port {port}", value, ports)
        elif port not in listening:
            return broken(f"nothing listens on UDP port {port}", value, *listening.values())
    return ok("the port that answers name is open", *dict.fromkeys(value for _, value in promised))


RULES = (
    Rule(
        "certificate",
        "the certificate can be read, has not expired, fits its key, and holds for SERVER_NAMES",
        "nginx does not start, or browsers refuse the site",
        _certificate,
    ),
    Rule(
        "hsts",
        "Strict-Transport-Security is promised over TLS alone, and where there is TLS",
        "a browser that has seen it does not reach the site any more",
        _hsts,
    ),
    Rule(
        "http3-port",
        "the UDP port that Alt-Svc names is the one that nginx listens on and Compose publishes",
        "browsers try HTTP/3 in vain at each visit, and wait",
        _http3,
    ),
)
