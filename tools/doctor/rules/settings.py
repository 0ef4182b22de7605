"""Settings that are right in one place and dangerous in another: secrets, switches for tests."""

import ipaddress

from tools.doctor.facts import GATEWAY, Compose, Facts, Port, need
from tools.doctor.rules.base import Judgement, Rule, broken, not_applicable, ok, warn
from tools.doctor.rules.trust import setting_of
from tools.doctor.values import NotKnown, Setting

OFF = frozenset({"", "0", "off", "no", "false"})


def _secrets(facts: Facts) -> Judgement:
    given = need(facts.compose).secret_defaults
    if given is None:
        raise NotKnown("a container does not tell where its secrets come from")
    if given:
        return broken("a secret has a value in a committed file", *given)
    return ok("none has one")


def _limits(facts: Facts) -> Judgement:
    nginx = need(facts.nginx)
    limits = setting_of(nginx.environment, "LIMITS", "on")
    if limits.value.lower() not in OFF:
        return ok("limits are on", limits)
    mode = setting_of(_app_environment(facts), "APP_ENV", "production")
    if mode.value == "development":
        return not_applicable("limits are off, and this is development", limits, mode)
    return warn("one client may take the whole site: LIMITS=off is for load tests", limits, mode)


def _lab(facts: Facts) -> Judgement:
    lab = setting_of(_app_environment(facts), "LAB_ENABLED", "0")
    if lab.value.lower() in OFF:
        return ok("the lab is off", lab)
    public = _public_address(facts)
    if public is None:
        return ok("the lab is on, and only this machine reaches the gateway", lab)
    return warn("anybody who reaches the gateway may make the app work hard", lab, public)


def _app_environment(facts: Facts) -> dict[str, Setting[str]]:
    return dict(need(facts.gunicorn).environment)


def _public_address(facts: Facts) -> Setting[str] | None:
    """The address other than loopback on which the gateway answers."""
    if isinstance(facts.compose, Compose):
        ports = facts.compose.service(GATEWAY).ports
        public = [port for port in ports.value if not _is_loopback(port)]
        return Setting(f"{GATEWAY}: ports", str(public[0]), str(public[0]), ports.origin) if public else None
    listen = setting_of(need(facts.nginx).environment, "LISTEN", "127.0.0.1")
    host = listen.value.rpartition(":")[0].strip("[]")
    return None if host and _is_loopback(Port(host, "", 0)) else listen


def _is_loopback(port: Port) -> bool:
    try:
        return ipaddress.ip_address(port.address).is_loopback
    except ValueError:
        return port.address == "localhost"


RULES = (
    Rule(
        "secret-defaults",
        "no secret has a default value in the Compose file",
        "every copy of the kit would sign its sessions with a key that the whole world knows",
        _secrets,
    ),
    Rule(
        "limits-on",
        "the limits per client are on in production",
        "one client can take every worker",
        _limits,
    ),
    Rule(
        "lab-private",
        "the lab is not reachable from other machines",
        "its routes burn processor time and memory for whoever asks",
        _lab,
    ),
)
