"""gunicorn's and Flask's settings, as a probe next to them reads them (probes/app_settings.py)."""

import ast
import ipaddress
import json
import math
import re
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.doctor.facts import App, Database, Environment, Gunicorn, Missing, Pool
from tools.doctor.units import show_bytes, show_seconds
from tools.doctor.values import CannotRead, Origin, Setting, variable

PROBE = Path(__file__).parent / "probes" / "app_settings.py"
MARK = "doctor-answer:"
# An application that needs longer than this to be imported is not waited for.
PROBE_TIMEOUT_S = 120
# What the configuration is shown in place of this machine: a large server, on which a wrong sizing shows.
PRETENDED_CORES = 64
# The engine chooses the real subnet when it makes the network.
PRETENDED_SUBNET = "172.31.254.0/24"
IN_SECONDS = frozenset({"timeout", "graceful_timeout", "keepalive"})
IN_BYTES = frozenset({"limit_request_line", "limit_request_field_size"})


@dataclass(frozen=True, slots=True)
class Answer:
    """What the probe printed: gunicorn's settings, the environment after gunicorn.conf.py, the application's."""

    settings: Mapping[str, Mapping[str, Any]]
    environment: Mapping[str, str]
    app: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A Python that can be handed a script on stdin: on this machine or, through docker, in a container."""

    argv: Sequence[str]
    cwd: Path | None = None
    env: Mapping[str, str] | None = None

    def ask(self, order: Mapping[str, Any]) -> "Answer | Missing":
        """Run the probe. CannotRead when gunicorn.conf.py is wrong, Missing when there is no gunicorn to ask."""
        try:
            done = subprocess.run(
                [*self.argv, "-", json.dumps(order)],
                input=PROBE.read_bytes(),
                cwd=self.cwd,
                env=dict(self.env) if self.env is not None else None,
                capture_output=True,
                timeout=PROBE_TIMEOUT_S,
                check=False,
            )
            stdout, stderr, ended = done.stdout, done.stderr, "it ended the process while it was imported"
        except subprocess.TimeoutExpired as late:
            stdout, stderr, ended = late.stdout or b"", late.stderr or b"", f"it is not imported after {PROBE_TIMEOUT_S} s"
        except OSError as error:
            return Missing(f"{self.argv[0]} cannot be run: {error.strerror}")
        return _answer(stdout.decode(errors="replace"), stderr.decode(errors="replace"), self.argv[0], ended)


def _answer(stdout: str, stderr: str, asked: str, ended: str) -> "Answer | Missing":
    said: dict[str, Any] = {}
    for line in stdout.splitlines():
        if line.startswith(MARK):
            said |= json.loads(line.removeprefix(MARK))
    if said:
        return Answer(said["settings"], said["environment"], said.get("app", {"error": f"the application: {ended}"}))
    if "No module named 'gunicorn'" in stderr:
        return Missing(f"gunicorn is not installed for {asked}")
    if "not imported" in ended:
        return Missing("gunicorn.conf.py does not come to an end")
    raise CannotRead(_complaint(stderr))


def _complaint(stderr: str) -> str:
    """One line out of what gunicorn, the configuration or Python printed when they gave up."""
    lines = [line for line in stderr.splitlines() if line.strip()] or ["gunicorn gave no reason"]
    at = re.findall(r'File ".*?([\w.-]+\.conf\.py)", line (\d+)', stderr)
    if at and re.match(r"\w+(Error|Exception)\b", lines[-1]):
        return f"{at[-1][0]}:{at[-1][1]}: {lines[-1]}"
    said = [line for line in lines if line.startswith("gunicorn.conf.py: ")]
    if said:
        return said[0]
    return f"gunicorn.conf.py: {lines[-1].removeprefix('Error: ')}"


@dataclass(frozen=True, slots=True)
class Container:
    """What a container would show the configuration: its CPU limit, and the names it has on its networks."""

    cpus: float | None
    names: Sequence[str]
    subnet: str | None

    def pretend(self, root: Path) -> dict[str, Any]:
        """Write the files of /proc and /sys that the container would have below `root`; the probe's `pretend`."""
        network = ipaddress.IPv4Network(self.subnet or PRETENDED_SUBNET)
        target, mask = _as_in_route(network.network_address), _as_in_route(network.netmask)
        quota = "max" if self.cpus is None else str(math.ceil(self.cpus * 100_000))
        files = {
            "proc/self/cgroup": "0::/\n",
            "proc/self/mountinfo": "31 1 0:27 / /sys/fs/cgroup ro,nosuid - cgroup2 cgroup rw\n",
            "proc/net/route": f"Iface\nweb\t{target}\t00000000\t0001\t0\t0\t0\t{mask}\t0\t0\t0\n",
            "sys/fs/cgroup/cpu.max": f"{quota} 100000\n",
        }
        for name, text in files.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return {"root": str(root), "names": dict.fromkeys(self.names, str(network[2])), "cores": PRETENDED_CORES}


def _as_in_route(address: ipaddress.IPv4Address) -> str:
    """As /proc/net/route writes it: hexadecimal, the last byte first."""
    return address.packed[::-1].hex().upper()


@dataclass(frozen=True, slots=True)
class Sources:
    """Where a gunicorn setting can come from, to name it: the lines of its file, and the environment's origins."""

    place: str
    lines: Mapping[str, int]
    environment: Environment

    def origin(self, name: str, entry: Mapping[str, Any]) -> tuple[Origin, bool]:
        """The origin of a setting, and whether somebody wrote it there."""
        option = {"keepalive": "--keep-alive"}.get(name, f"--{name.replace('_', '-')}")
        for alias in (f"GUNICORN_{name.upper()}", *(["WEB_CONCURRENCY"] if name == "workers" else []), "GUNICORN_CMD_ARGS"):
            given = self.environment[alias].value if alias in self.environment else ""
            if given and (alias != "GUNICORN_CMD_ARGS" or option in given.split()):
                found = self.environment[alias].origin
                return Origin(found.place, found.line, alias), True
        if name in self.lines:
            return Origin(self.place, self.lines[name]), True
        if entry["value"] == entry["default"]:
            return Origin("gunicorn's default"), False
        return Origin(self.place), True


def assigned_lines(text: str) -> dict[str, int]:
    """Map each name that a Python file assigns at its top level (in `if` and `try` too) to the last line that does so."""
    statements = sorted(_statements(ast.parse(text).body), key=lambda node: node.lineno)
    return {name: node.lineno for node in statements for name in _targets(node)}


def _statements(body: Sequence[ast.stmt]) -> Iterator[ast.stmt]:
    for node in body:
        yield node
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            for part in ("body", "orelse", "finalbody"):
                yield from _statements(getattr(node, part, []))


def _targets(node: ast.stmt) -> set[str]:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return {name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)}


def gunicorn(answer: Answer, sources: Sources) -> Gunicorn:
    """The answer as facts."""
    settings = {name: _setting(name, entry, sources) for name, entry in answer.settings.items()}
    known = {name: variable(name, value, Origin("worked out at start"), editable=False) for name, value in answer.environment.items()}
    return Gunicorn(settings, {**known, **sources.environment})


def _setting(name: str, entry: Mapping[str, Any], sources: Sources) -> Setting[Any]:
    origin, editable = sources.origin(name, entry)
    value = entry["value"]
    if name == "forwarded_allow_ips":
        return _allowed(value, origin, editable=editable)
    return Setting(name, value, _shower(name)(value), origin, editable)


def _shower(name: str) -> Callable[[Any], str]:
    if name in IN_SECONDS:
        return show_seconds
    return show_bytes if name in IN_BYTES else str


def _allowed(value: Any, origin: Origin, *, editable: bool) -> Setting[Any]:
    words = [word.strip() for word in (value.split(",") if isinstance(value, str) else value) if word.strip()]
    if words == [PRETENDED_SUBNET]:
        return Setting("forwarded_allow_ips", words, "the network of the gateway", Origin("worked out at start"), editable=False)
    return Setting("forwarded_allow_ips", words, ", ".join(words), origin, editable)


def flask(answer: Answer, place: str, environment: Environment) -> App | Missing:
    """The application's limits, or why they could not be read."""
    if "error" in answer.app:
        return Missing(str(answer.app["error"]))
    limit = answer.app["max_content_length"]
    shown = "none" if limit is None else show_bytes(limit)
    body = Setting("MAX_CONTENT_LENGTH", limit, shown, _flask_origin("MAX_CONTENT_LENGTH", limit, place, environment))
    pool = answer.app.get("pool")
    if pool is None:
        return App(body, Missing(str(answer.app.get("pool_error", "the application has no database"))))
    origin = _flask_origin("DATABASE_POOL_SIZE", pool["size"], place, environment)
    return App(
        body,
        Pool(
            Setting("pool size", pool["size"], str(pool["size"]), origin),
            Setting("max overflow", pool["overflow"], str(pool["overflow"]), Origin(place)),
        ),
    )


def _flask_origin(name: str, value: Any, place: str, environment: Environment) -> Origin:
    """The variable, if the application has taken its value from there, else the application."""
    given = environment.get(name)
    return Origin(given.origin.place, given.origin.line, name) if given and given.value == str(value) else Origin(place)


def database(answer: Answer) -> Database | Missing:
    """What the database itself says, or why it did not."""
    limits = answer.app.get("database")
    if limits is None:
        reason = answer.app.get("database_error") or answer.app.get("pool_error") or answer.app.get("error")
        return Missing(str(reason or "the database was not asked"))
    origin = Origin("the running database")
    kept = limits.get("superuser_reserved_connections", 0) + limits.get("reserved_connections", 0)
    return Database(
        Setting("max_connections", limits["max_connections"], str(limits["max_connections"]), origin),
        Setting("reserved connections", kept, str(kept), origin, editable=False),
    )


def stand_in_files(environment: Mapping[str, str], folder: Path) -> dict[str, str]:
    """The environment with every `<NAME>_FILE` that is not here pointing at a file that is.

    Secrets lie in volumes of the containers. Without one an application refuses to start, which says nothing
    about its limits; this text opens no database.
    """
    stand_in = folder / "stand-in"
    stand_in.write_text("a stand-in of the doctor, not a secret, and long enough")
    return {
        name: str(stand_in) if name.endswith("_FILE") and value and not Path(value).is_file() else value
        for name, value in environment.items()
    }


def temporary_folder() -> tempfile.TemporaryDirectory[str]:
    """A folder for what the probe is shown."""
    return tempfile.TemporaryDirectory(prefix="kit-doctor-")
