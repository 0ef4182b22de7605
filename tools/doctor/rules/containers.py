"""What every service of the Compose file has to have: health, limits, and no more rights than it needs."""

from collections.abc import Iterable

from tools.doctor.facts import GATEWAY, Facts, Service, need
from tools.doctor.rules.base import Judgement, Rule, Verdict, broken, each_service, not_applicable, ok
from tools.doctor.units import show_bytes
from tools.doctor.values import Setting

ROOT_USERS = frozenset({"", "0", "root"})
# What nginx itself takes beside the files in its tmpfs: its processes, buffers and shared zones.
NGINX_MEMORY = 32 * 1024**2


def _healthcheck(facts: Facts) -> Judgement:
    return each_service(facts, lambda s: None if s.healthcheck.value else s.healthcheck, only_long_running=True)


def _read_only(facts: Facts) -> Judgement:
    return each_service(facts, lambda s: None if s.read_only.value else s.read_only)


def _capabilities(facts: Facts) -> Judgement:
    return each_service(facts, lambda s: None if "ALL" in {c.upper() for c in s.cap_drop.value} else s.cap_drop)


def _privileges(facts: Facts) -> Judgement:
    return each_service(facts, lambda s: None if _no_new_privileges(s.security_opt.value) else s.security_opt)


def _no_new_privileges(options: Iterable[str]) -> bool:
    spellings = {"no-new-privileges", "no-new-privileges:true", "no-new-privileges=true"}
    return any(option in spellings for option in options)


def _user(facts: Facts) -> Judgement:
    judged = each_service(facts, lambda s: s.user if s.user.value is not None and _is_root(s.user.value) else None)
    unknown = [s.name for s in need(facts.compose).services.values() if s.user.value is None]
    if judged.verdict is Verdict.OK and unknown:
        return Judgement(Verdict.NOT_CHECKED, f"the user stands in an image that is not here yet: {', '.join(unknown)}")
    return judged


def _is_root(user: str) -> bool:
    return user.partition(":")[0] in ROOT_USERS


def _logs(facts: Facts) -> Judgement:
    return each_service(facts, lambda s: None if s.log_rotation.value else s.log_rotation)


def _limits(facts: Facts) -> Judgement:
    return each_service(facts, _missing_limit)


def _missing_limit(service: Service) -> Setting[int | None] | Setting[float | None] | None:
    limits = (service.memory, service.pids, service.cpus)
    return next((limit for limit in limits if limit.value is None or limit.value <= 0), None)


def _ports(facts: Facts) -> Judgement:
    return each_service(facts, lambda s: s.ports if s.ports.value and s.name != GATEWAY else None)


def _port_reuse(facts: Facts) -> Judgement:
    """Over loopback the kernel does it by itself, so this is about a gateway with a network of its own."""
    gateway = need(facts.compose).services.get(GATEWAY)
    if gateway is None:
        return not_applicable("no service called gateway")
    setting = gateway.port_reuse
    return ok(setting.shown, setting) if setting.value == "1" else broken(f"{setting.name}: {setting.shown}", setting)


def _tmpfs(facts: Facts) -> Judgement:
    """A tmpfs is memory of its container: filled to its size, it must still leave room for the process."""
    services = [s for s in need(facts.compose).services.values() if s.tmpfs]
    for service in services:
        for mount in service.tmpfs.values():
            if mount.value is None:
                return broken(f"{service.name}: {mount.name} has no size, it may take half of the host's memory", mount)
    for service in services:
        total = sum(mount.value or 0 for mount in service.tmpfs.values())
        if service.memory.value is not None and total + NGINX_MEMORY > service.memory.value:
            text = f"{service.name}: {show_bytes(total)} of tmpfs in {service.memory.shown} of memory"
            return broken(text, *service.tmpfs.values(), service.memory)
    return ok("all of them")


RULES = (
    Rule(
        "ports",
        "only the gateway publishes a port",
        "whoever reaches gunicorn or the database directly goes around every limit of the gateway",
        _ports,
    ),
    Rule(
        "healthcheck",
        "every long-running service has a health check",
        "a service that hangs looks alive, and what depends on it starts too early",
        _healthcheck,
    ),
    Rule(
        "user",
        "no service runs as root",
        "a hole in the service is a hole in the host's kernel away from the host",
        _user,
    ),
    Rule(
        "read-only",
        "every service has a read-only root file system",
        "an intruder can change the program and stay",
        _read_only,
    ),
    Rule(
        "capabilities",
        "every service drops all capabilities",
        "an intruder may do to the network and to files what only root should",
        _capabilities,
    ),
    Rule(
        "no-new-privileges",
        "no service can gain privileges",
        "a set-uid program in the image makes an intruder root",
        _privileges,
    ),
    Rule(
        "resource-limits",
        "every service has a limit for memory, processes and CPU",
        "one service that runs wild takes the host and every other service with it",
        _limits,
    ),
    Rule(
        "tmpfs-memory",
        "every tmpfs is bounded and fits in its container's memory",
        "the kernel kills the service when the tmpfs fills up, instead of one request failing",
        _tmpfs,
    ),
    Rule(
        "port-reuse",
        "the gateway uses the ports of closed connections again",
        "with sync workers each request is a connection, and after 28,000 in a minute there is no port left for the next (docs/growth.md)",
        _port_reuse,
    ),
    Rule(
        "log-rotation",
        "the logs of every service are rotated",
        "json-file logs grow until the disk is full, and then everything stops",
        _logs,
    ),
)
