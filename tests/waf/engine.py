"""libmodsecurity without nginx: thousands of requests in a second, and the rules that match."""

import ctypes
import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.waf.corpus import Request
from tools.local import nginx

LIBRARY = "libmodsecurity.so.3"
# Where a rule stands, and which request it was.
PLACE = re.compile(rb' \[(?:file|line|unique_id) "[^"]*"\]')
RULE = re.compile(rb'\[id "(\d+)"\]')
LOG = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_char_p)


class Verdict(NamedTuple):
    """A request's answer (0: it passes), and what the engine logs of each match."""

    status: int
    matches: tuple[bytes, ...]

    @property
    def rules(self) -> list[int]:
        return [int(found[1]) for line in self.matches if (found := RULE.search(line))]


class _Intervention(ctypes.Structure):
    _fields_ = (
        ("status", ctypes.c_int),
        ("pause", ctypes.c_int),
        ("url", ctypes.c_char_p),
        ("log", ctypes.c_char_p),
        ("disruptive", ctypes.c_int),
    )


class Engine:
    """One set of rules."""

    def __init__(self, main: Path) -> None:
        self._library = library = ctypes.CDLL(LIBRARY)
        for name in ("msc_init", "msc_create_rules_set", "msc_new_transaction", "msc_who_am_i"):
            getattr(library, name).restype = ctypes.c_void_p
        self._modsecurity = ctypes.c_void_p(library.msc_init())
        self._lines: list[bytes] = []
        self._callback = LOG(lambda _, line: self._lines.append(line))
        library.msc_set_log_cb(self._modsecurity, self._callback)
        self._rules = ctypes.c_void_p(library.msc_create_rules_set())
        error = ctypes.c_char_p()
        if library.msc_rules_add_file(self._rules, str(main).encode(), ctypes.byref(error)) < 0:
            raise ValueError((error.value or b"").decode())

    def ask(self, request: Request) -> Verdict:
        """As nginx's module does: it ends with the first phase that refuses."""
        self._lines.clear()
        transaction = ctypes.c_void_p(self._library.msc_new_transaction(self._modsecurity, self._rules, None))
        status = self._phases(transaction, request)
        self._library.msc_process_logging(transaction)
        self._library.msc_transaction_cleanup(transaction)
        return Verdict(status, tuple(PLACE.sub(b"", line) for line in self._lines))

    def _phases(self, transaction: ctypes.c_void_p, request: Request) -> int:
        library = self._library
        library.msc_process_connection(transaction, b"192.0.2.1", 40000, b"192.0.2.2", 80)
        library.msc_process_uri(transaction, request.path.encode("latin-1", "replace"), request.method.encode(), b"1.1")
        headers: dict[str, str] = {"Host": "localhost", "Accept": "*/*", **request.headers}
        if request.body or request.method not in {"GET", "HEAD"}:
            headers.setdefault("Content-Length", str(len(request.body)))
        for name, value in headers.items():
            one, other = name.encode("latin-1", "replace"), value.encode("latin-1", "replace")
            library.msc_add_n_request_header(transaction, one, ctypes.c_size_t(len(one)), other, ctypes.c_size_t(len(other)))
        library.msc_process_request_headers(transaction)
        if status := self._refused(transaction):
            return status
        library.msc_append_request_body(transaction, request.body, ctypes.c_size_t(len(request.body)))
        library.msc_process_request_body(transaction)
        return self._refused(transaction)

    def _refused(self, transaction: ctypes.c_void_p) -> int:
        intervention = _Intervention(200, 0, None, None, 0)
        return int(intervention.status) if self._library.msc_intervention(transaction, ctypes.byref(intervention)) else 0


def render(folder: Path, settings: Mapping[str, str], edits: Sequence[nginx.Edit] = ()) -> tuple[Path, Path]:
    """Prepare the rules as the container does; return main.conf as it is written, and as it is loaded."""
    run = folder / "run"
    run.mkdir(parents=True, exist_ok=True)
    edits = [nginx.Edit("docker-entrypoint.sh", r'^exec "\$@"', "exit"), nginx.Edit("rules/base.conf", r"^SecAuditLog .*$", ""), *edits]
    nginx.write("waf", folder / "conf", nginx=nginx.IMAGE, places={"/run/nginx": run}, edits=edits)
    (folder / "conf" / "docker-entrypoint.d" / "40-audit-log.envsh").unlink()
    command = nginx.command(folder / "conf")
    done = subprocess.run(command, env={"PATH": "/usr/bin:/bin", **settings}, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ValueError(done.stderr)
    return folder / "conf" / "rules" / "main.conf", run / "rules" / "main.conf"
