"""gunicorn's and Flask's settings, as a probe beside them reads them (probe.py)."""

import json
import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tools.doctor.values import CannotRead, Environment, Missing, NotKnown, Origin, Setting, show_bytes, show_seconds, variable

PROBE, MARK = Path(__file__).parent / "probe.py", "doctor-answer:"
# An application that needs longer than this to be imported is not waited for.
PROBE_TIMEOUT_S = 120
CONF = "gunicorn.conf.py"
IN_SECONDS = frozenset({"timeout", "graceful_timeout", "keepalive"})
RESERVED = ("superuser_reserved_connections", "reserved_connections")
ALIASES = {"workers": "WEB_CONCURRENCY", "forwarded_allow_ips": "FORWARDED_ALLOW_IPS"}


class Application(NamedTuple):
    """What gunicorn's workers run with; `place` names the file or container, `lines` its assignments."""

    settings: Mapping[str, Any]
    environment: Environment
    flask: Mapping[str, Any]
    place: str
    lines: Mapping[str, int]

    def get(self, name: str) -> Setting:
        """Return a setting of gunicorn."""
        if name not in self.settings:
            raise NotKnown(f"this gunicorn has no setting {name}")
        value = self.settings[name]
        shown = show_seconds(value) if name in IN_SECONDS else ", ".join(value) if isinstance(value, list) else str(value)
        origin = self._origin(name)
        return Setting(name, value, shown, origin, editable=origin.place != "default")

    def _origin(self, name: str) -> Origin:
        option = f"--{name.replace('keepalive', 'keep_alive').replace('_', '-')}"
        for given in ("GUNICORN_CMD_ARGS", f"GUNICORN_{name.upper()}", ALIASES.get(name, "")):
            if (found := self.environment.get(given)) and found.value and (given != "GUNICORN_CMD_ARGS" or option in found.value):
                return Origin(found.origin.place, found.origin.line, given)
        return Origin(self.place, self.lines[name]) if name in self.lines else Origin("default" if self.lines else self.place)

    @property
    def max_content_length(self) -> Setting:
        """Return Flask's limit of a body, None without one."""
        value = self._flask("max_content_length")
        return Setting("MAX_CONTENT_LENGTH", value, "none" if value is None else show_bytes(value), self._from("MAX_CONTENT_LENGTH"))

    @property
    def secret_key(self) -> Setting:
        """Return whether two processes have the same key, None without one."""
        value = self._flask("secret_key")
        return Setting("SECRET_KEY", value, {None: "not set", True: "the same", False: "differs"}[value], self._from("SECRET_KEY"))

    @property
    def pool(self) -> tuple[Setting, Setting]:
        """Return how many connections a worker keeps, and how many more it opens under load."""
        size, overflow = self._flask("pool"), self._flask("overflow")
        origin = self._from("DATABASE_POOL_SIZE")
        return Setting("pool size", size, str(size), origin), Setting("max overflow", overflow, str(overflow), origin)

    @property
    def database(self) -> tuple[Setting, Setting]:
        """Return what the running database allows, and what it keeps for its administrators."""
        limits, origin = self._flask("database"), Origin("the running database")
        most, reserved = limits["max_connections"], sum(limits.get(name, 0) for name in RESERVED)
        return Setting("max_connections", most, str(most), origin), Setting("reserved connections", reserved, str(reserved), origin)

    def _flask(self, name: str) -> Any:
        if name not in self.flask:
            raise NotKnown(str(self.flask.get("error") or self.flask.get("pool_error")))
        return self.flask[name]

    def _from(self, name: str) -> Origin:
        given = self.environment.get(name)
        return given.origin if given and given.value else Origin("the application")


def ask(python: Sequence[str], order: Mapping[str, Any], place: str, *, environment: Environment, **options: Any) -> Application | Missing:
    """Hand the probe to an interpreter. CannotRead when gunicorn refuses its configuration, Missing when nobody can be asked."""
    try:
        argv = [*python, "-", json.dumps(order)]
        done = subprocess.run(argv, input=PROBE.read_bytes(), capture_output=True, timeout=PROBE_TIMEOUT_S, check=False, **options)
        stdout, stderr, reason = done.stdout, done.stderr.decode(errors="replace"), "it ended the process while it was imported"
    except subprocess.TimeoutExpired as late:
        stdout, stderr, reason = late.stdout or b"", "", f"it is not imported after {PROBE_TIMEOUT_S} s"
    except OSError as error:
        return Missing(f"{python[0]} cannot be run: {error.strerror}")
    answer: dict[str, Any] = {"app": {"error": f"the application: {reason}"}}
    for line in stdout.decode(errors="replace").splitlines():
        if line.startswith(MARK):
            answer |= json.loads(line.removeprefix(MARK))
    if "settings" not in answer:
        if "No module named 'gunicorn'" in stderr:
            return Missing(f"gunicorn is not installed for {python[0]}")
        raise CannotRead(_complaint(stderr) if stderr else f"{CONF}: {reason}")
    known = {name: variable(name, value, Origin("worked out at start")) for name, value in answer["environment"].items()}
    return Application(answer["settings"], {**known, **environment}, answer["app"], place, order.get("lines", {}))


def _complaint(stderr: str) -> str:
    """Return one line out of what gunicorn, the configuration or Python printed when they gave up."""
    lines = [line for line in stderr.splitlines() if line.strip()]
    at = re.findall(rf'File ".*{re.escape(CONF)}", line (\d+)', stderr)
    if at and re.match(r"\w+(Error|Exception)\b", lines[-1]):
        return f"{CONF}:{at[-1]}: {lines[-1]}"
    return f"{CONF}: {lines[-1].removeprefix('Error: ').removeprefix(f'{CONF}: ')}"


def assigned_lines(text: str) -> dict[str, int]:
    """Map each name that a Python file assigns at the start of a line to the last line that does so."""
    return {match[1]: text.count("\n", 0, match.start()) + 1 for match in re.finditer(r"(?m)^(\w+) = ", text)}


def stand_ins(environment: Mapping[str, str], folder: Path) -> dict[str, str]:
    """Point every `<NAME>_FILE` that is not here at a file that is: secrets are in volumes of the containers."""
    file = folder / "stand-in"
    file.write_text("a stand-in of the doctor, not a secret, and long enough")
    missing = {name for name, value in environment.items() if name.endswith("_FILE") and value and not Path(value).is_file()}
    return {name: str(file) if name in missing else value for name, value in environment.items()}
