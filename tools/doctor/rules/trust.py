"""Whose word counts: who may say where a request came from, and that it came by https."""

import ipaddress
from collections.abc import Iterable

from tools.doctor.facts import WEB, Compose, Environment, Facts, need
from tools.doctor.rules.base import Judgement, Rule, broken, from_node, ok
from tools.doctor.tree import Node
from tools.doctor.values import Origin, Setting

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
# A larger network than this (65,536 addresses; /32 of IPv6) is nobody's list of load balancers.
WIDEST = {4: 8, 6: 16}


def _networks(words: Iterable[str]) -> frozenset[Network]:
    return frozenset(ipaddress.ip_network(word, strict=False) for word in words)


def _too_wide(networks: Iterable[Network]) -> bool:
    return any(network.prefixlen < WIDEST[network.version] for network in networks)


def setting_of(environment: Environment, name: str, default: str = "") -> Setting[str]:
    """A variable of the environment, or its default."""
    found = environment.get(name)
    return found or Setting(name, default, default or "not set", Origin("not set"), editable=False)


def _trusted_proxies(facts: Facts) -> Judgement:
    nginx = need(facts.nginx)
    asked = setting_of(nginx.environment, "TRUSTED_PROXIES")
    wanted = _networks(asked.value.replace(",", " ").split())
    # A unix socket is this nginx itself, on its way to the firewall.
    real_ip = [node for node in nginx.tree.walk() if node.name == "set_real_ip_from" and not node.args[0].startswith("unix:")]
    believed = _networks(node.args[0] for node in real_ip)
    proto = _https_from(nginx.tree)
    values = (asked, *(from_node(node, node.args[0]) for node in real_ip), *proto)
    if _too_wide(wanted | believed | _networks(v.value for v in proto)):
        return broken("everybody may say which address a request comes from", *values)
    if believed != wanted:
        return broken("set_real_ip_from is not what TRUSTED_PROXIES says", *values)
    if _networks(v.value for v in proto) != wanted:
        return broken("X-Forwarded-Proto is not taken from what TRUSTED_PROXIES says", *values)
    return ok(asked.shown if wanted else "nobody is in front of the gateway", *values)


def _https_from(tree: Node) -> tuple[Setting[str], ...]:
    """The networks of every `geo` block (they choose whose X-Forwarded-Proto counts); its default is no network."""
    entries = (entry for block in tree.walk() if block.name == "geo" for entry in block.children)
    return tuple(from_node(entry, entry.name) for entry in entries if _is_network(entry.name))


def _is_network(text: str) -> bool:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return True


def _forwarded_allow_ips(facts: Facts) -> Judgement:
    allowed = need(facts.gunicorn).get("forwarded_allow_ips")
    words = list(allowed.value)
    if "*" in words:
        return broken("everybody may set X-Forwarded-For and X-Forwarded-Proto", allowed)
    networks = _networks(words)
    if _too_wide(networks):
        return broken(f"{allowed.shown} is the whole Internet, or a good part of it", allowed)
    subnets = _networks(facts.compose.subnets.get(WEB, ())) if isinstance(facts.compose, Compose) else frozenset()
    outside = [str(network) for network in networks if subnets and not _inside(network, subnets)]
    if outside:
        shown = ", ".join(sorted(map(str, subnets)))
        return broken(f"{', '.join(outside)} is not within the gateway's network {shown}", allowed)
    return ok(allowed.shown, allowed)


def _inside(network: Network, subnets: Iterable[Network]) -> bool:
    if network.is_loopback:
        return True
    same = (subnet for subnet in subnets if subnet.version == network.version)
    return any(network.subnet_of(subnet) for subnet in same)  # type: ignore[arg-type]


RULES = (
    Rule(
        "trusted-proxies",
        "TRUSTED_PROXIES is what nginx believes, in every place, and is not the whole Internet",
        "a client chooses the address that limits and logs see, or makes http look like https",
        _trusted_proxies,
    ),
    Rule(
        "forwarded-allow-ips",
        "gunicorn believes X-Forwarded-* from the gateway's network only",
        "whoever reaches gunicorn directly chooses its own address and scheme",
        _forwarded_allow_ips,
    ),
)
