"""Whether what runs is what the files say: a container started before an edit keeps the old values."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from tools.doctor.facts import Compose, Facts, Gunicorn, Nginx, Service
from tools.doctor.judge import Finding
from tools.doctor.rules.base import Judgement, Topic, Verdict
from tools.doctor.tree import Node
from tools.doctor.values import Origin, Setting

# How many differences are written out; the number of all is always said.
SHOWN = 6
# They follow the machine on which the file was rendered, or its folders.
OF_THE_MACHINE = frozenset(
    {
        "listen", "load_module", "pid", "user", "worker_processes", "worker_connections", "worker_rlimit_nofile", "resolver",
        "error_log", "access_log", "alias", "root", "client_body_temp_path", "proxy_temp_path", "fastcgi_temp_path",
        "scgi_temp_path", "uwsgi_temp_path", "brotli", "brotli_static", "brotli_comp_level", "brotli_min_length", "brotli_types",
        "modsecurity_rules_file",
    }
)  # fmt: skip
# gunicorn settings that hold paths, or what the container's network decides.
OF_THE_PLACE = frozenset(
    {"config", "control_socket", "chdir", "pythonpath", "forwarded_allow_ips", "worker_tmp_dir", "user", "group", "bind", "proc_name"}
)
FIELDS = (
    *("stop_grace", "read_only", "cap_drop", "security_opt", "port_reuse", "user", "log_rotation"),
    *("memory", "cpus", "pids", "healthcheck"),
)
# The edit is done; what is missing is a start.
AGAIN = ("nothing: start it again (make down up)",)
WHY = "an edit has no effect until the service is started again, and what was judged from the files is not what serves"
GUNICORN = ("running-gunicorn", "gunicorn runs with what the files say")
Difference = tuple[Setting[Any], Setting[Any]]


def compare(files: Facts, running: Facts) -> tuple[Finding, ...]:
    """One finding for each layer that both could read."""
    found = []
    if isinstance(files.nginx, Nginx) and isinstance(running.nginx, Nginx):
        found.append(_finding("running-nginx", "nginx runs with what the files say", _nginx(files.nginx.tree, running.nginx.tree)))
    if isinstance(files.gunicorn, Gunicorn) and isinstance(running.gunicorn, Gunicorn):
        edited = running.edited_since
        found.append(_edited(edited) if edited else _finding(*GUNICORN, _gunicorn(files.gunicorn, running.gunicorn)))
    if isinstance(files.compose, Compose) and isinstance(running.compose, Compose):
        found.append(
            _finding("running-containers", "the containers are as the Compose file says", _compose(files.compose, running.compose))
        )
    return tuple(found)


def _edited(files: tuple[str, ...]) -> Finding:
    says = f"{', '.join(files)} was edited after gunicorn was started"
    return Finding(Topic(*GUNICORN, WHY), Judgement(Verdict.BROKEN, says, (), AGAIN))


def _finding(name: str, title: str, differences: Iterator[Difference]) -> Finding:
    listed = list(differences)
    if not listed:
        return Finding(Topic(name, title, WHY), Judgement(Verdict.OK, "no difference"))
    values = tuple(setting for pair in listed[:SHOWN] for setting in pair)
    more = f", the first {SHOWN} are shown" if len(listed) > SHOWN else ""
    says = f"{len(listed)} settings differ{more}" if len(listed) > 1 else "1 setting differs"
    return Finding(Topic(name, title, WHY), Judgement(Verdict.BROKEN, says, values, AGAIN))


def _nginx(files: Node, running: Node) -> Iterator[Difference]:
    ours, theirs = _leaves(files), _leaves(running)
    for place in dict.fromkeys([*ours, *theirs]):
        one, other = ours.get(place, []), theirs.get(place, [])
        if Counter(map(_compared, one)) != Counter(map(_compared, other)):
            yield _written(place[-1], one, "files"), _written(place[-1], other, "running")


def _compared(node: Node) -> tuple[str, ...]:
    # The local runtime takes free ports for its servers.
    return node.args[1:] if node.name == "server" else node.args


def _leaves(tree: Node) -> dict[tuple[str, ...], list[Node]]:
    """Simple directives by the blocks they stand in; the same directive may stand in a block many times."""
    found: dict[tuple[str, ...], list[Node]] = {}
    pending: list[tuple[tuple[str, ...], Node]] = [((), tree)]
    while pending:
        path, node = pending.pop()
        for child in node.children:
            here = (*path, " ".join((child.name, *child.args)))
            if child.children:
                pending.append((here, child))
            elif child.name not in OF_THE_MACHINE:
                found.setdefault((*path, child.name), []).append(child)
    return found


def _written(name: str, nodes: list[Node], source: str) -> Setting[str]:
    text = "; ".join(" ".join(node.args) for node in nodes) or "not there"
    return Setting(name, text, text, nodes[0].origin if nodes else Origin(source))


def _gunicorn(files: Gunicorn, running: Gunicorn) -> Iterator[Difference]:
    for name, ours in files.settings.items():
        theirs = running.settings.get(name)
        if name not in OF_THE_PLACE and theirs is not None and ours.value != theirs.value:
            yield ours, theirs


def _compose(files: Compose, running: Compose) -> Iterator[Difference]:
    for name, theirs in running.services.items():
        if name in files.services:
            yield from _service(files.services[name], theirs)


def _service(ours: Service, theirs: Service) -> Iterator[Difference]:
    for field in FIELDS:
        one, other = getattr(ours, field), getattr(theirs, field)
        if one.value is not None and one.value != other.value:
            yield _named(ours.name, one), _named(ours.name, other)
    yield from _mapping(ours.name, ours.tmpfs, theirs.tmpfs)
    # What an image sets may be made of what its base image set, which is not known here.
    written = {name: setting for name, setting in ours.environment.items() if "$" not in setting.value}
    yield from _mapping(ours.name, written, {name: setting for name, setting in theirs.environment.items() if name in written})


def _named(service: str, setting: Setting[Any]) -> Setting[Any]:
    return Setting(f"{service}: {setting.name}", setting.value, setting.shown, setting.origin)


def _mapping(service: str, ours: Mapping[str, Setting[Any]], theirs: Mapping[str, Setting[Any]]) -> Iterator[Difference]:
    for name in sorted({*ours, *theirs}):
        one, other = ours.get(name) or _absent(name, "files"), theirs.get(name) or _absent(name, "running")
        if one.value != other.value:
            yield _named(service, one), _named(service, other)


def _absent(name: str, source: str) -> Setting[None]:
    return Setting(name, None, "not there", Origin(source), editable=False)
