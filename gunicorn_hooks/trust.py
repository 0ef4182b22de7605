"""Who may set X-Forwarded-*: nginx, on the one network that it shares with this container."""

import ipaddress
import os
import socket
from pathlib import Path
from typing import Any

from gunicorn_hooks import refuse


def peers() -> str:
    """Return FORWARDED_ALLOW_IPS, or loopback and the network of GATEWAY_NETWORK_ALIAS."""
    if given := os.environ.get("FORWARDED_ALLOW_IPS"):
        return given.replace(" ", "")
    if not (alias := os.environ.get("GATEWAY_NETWORK_ALIAS")):
        return "127.0.0.1,::1"
    try:
        return f"{gateway_network(alias)},127.0.0.1,::1"  # nginx first: gunicorn goes by the order. Loopback: the health check
    except (OSError, LookupError) as error:
        refuse(f"GATEWAY_NETWORK_ALIAS={alias}: {error}; right is a name of this container on nginx's network")


def gateway_network(alias: str, routes: Path = Path("/proc/net/route")) -> str:
    """Return the network (CIDR) on which this container is called `alias`; OSError or LookupError when there is none."""
    address = ipaddress.IPv4Address(socket.gethostbyname(alias))
    for line in routes.read_text().splitlines()[1:]:
        _interface, destination, router, _flags, _refs, _use, _metric, mask, *_ = line.split()
        target, via, bits = (int.from_bytes(bytes.fromhex(number), "little") for number in (destination, router, mask))
        network = ipaddress.IPv4Network((target, bits.bit_count()))
        if via == 0 and bits and address in network:  # not the default route: it would trust everybody
            return str(network)
    raise LookupError(f"{address} is on no network of this container")


def check(cfg: Any) -> None:
    """Refuse most of the Internet, and tell the application (ProxyFix) whom gunicorn trusts."""
    widest = {4: 8, 6: 7}  # 10.0.0.0/8 and fc00::/7, the widest private networks
    for peer in cfg.forwarded_allow_ips:
        if peer == "*" or (network := ipaddress.ip_network(peer)).prefixlen < widest[network.version]:
            refuse(f"FORWARDED_ALLOW_IPS={peer}: any client could claim any address; right is the network of nginx")
    os.environ["FORWARDED_ALLOW_IPS"] = ",".join(cfg.forwarded_allow_ips)
