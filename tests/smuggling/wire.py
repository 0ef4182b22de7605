"""One client connection by the byte, and the applications behind the gateway with what they recorded."""

import json
import re
import socket
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, Self

from tests.gunicorn_conf.process import CONF, Gunicorn
from tests.nginx.gateway import HOST, Answer, read_answer_from

# Longer than any timeout that a request here can meet: what is still silent then hangs.
PATIENCE_S = 40
# Says who made an answer, where it runs or in which version. nginx's own name alone may stand in Server.
REVEALING = re.compile(
    r"nginx/|gunicorn|werkzeug|flask|python|tornado|gevent|openssl|debian|modsecurity|(?:127|10|172|192)\.\d+\.\d+\.\d+|unix:|/srv/|traceback",
    re.IGNORECASE,
)

Record = dict[str, Any]


class Witness(Protocol):
    """What knows which requests reached it."""

    def mark(self) -> int: ...

    def since(self, mark: int) -> list[Record]: ...


class Line:
    """One connection of a client that says exactly the bytes it is told, and reads exactly what comes back."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection((HOST, port), timeout=PATIENCE_S)
        self._stream = self._socket.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()
        self._socket.close()

    def say(self, data: bytes) -> None:
        # Refused in the middle of it: what came back is read as usual.
        with suppress(BrokenPipeError, ConnectionResetError):
            self._socket.sendall(data)

    def hear(self, *, bodiless: bool = False) -> Answer | None:
        """Read one final answer; None when the connection ends without one. Status 0: bytes without a status line (HTTP/0.9)."""
        try:
            while start := self._stream.peek(5):
                if not start.startswith(b"HTTP/"):
                    return Answer(0, [("connection", "close")], self._stream.read())
                answer = read_answer_from(self._stream, bodiless=bodiless)
                if answer.status >= 200:
                    return answer
        except ConnectionResetError:
            pass
        return None

    def is_silent(self) -> bool:
        """Say whether nothing has come yet, and the connection is open."""
        self._socket.setblocking(False)
        try:
            return bool(self._socket.recv(1, socket.MSG_PEEK)) and False
        except BlockingIOError:
            return True
        finally:
            self._socket.settimeout(PATIENCE_S)

    def rest(self) -> bytes:
        """Say that nothing more will come, and return what was still in store."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)
        try:
            return self._stream.read()
        except ConnectionResetError:
            return b""


@dataclass(slots=True)
class Recorder:
    """A real gunicorn with the kit's gunicorn.conf.py, one worker, and the application of recorder.py."""

    folder: Path
    worker_class: str
    gunicorn: Gunicorn = field(init=False)

    def __post_init__(self) -> None:
        settings = {
            "APP_MODULE": "recorder:app",
            "GUNICORN_WORKER_CLASS": self.worker_class,
            "PYTHONPATH": str(Path(__file__).parent),
            "RECORD_FILE": str(self._file),
        }
        self._file.touch()
        self.gunicorn = Gunicorn(self.folder, CONF, settings, [])

    @property
    def _file(self) -> Path:
        return self.folder / "records.jsonl"

    @property
    def address(self) -> str:
        return f"{HOST}:{self.gunicorn.port}"

    def mark(self) -> int:
        """Return how far the record goes, for `since`."""
        return self._file.stat().st_size

    def since(self, mark: int) -> list[Record]:
        """Return the requests that reached the application after `mark`."""
        with self._file.open() as file:
            file.seek(mark)
            return [json.loads(line) for line in file]


def revealing(answer: Answer) -> list[str]:
    """Return what an answer tells of what is inside: in its header always, in its body when the gateway or a server made it."""
    texts = [f"{name}: {value}" for name, value in answer.headers]
    if answer.status != 200:
        texts.append(answer.body.decode("latin-1"))
    return [match[0] for text in texts for match in REVEALING.finditer(text)]


def paths(records: Sequence[Record]) -> list[str]:
    """Return the paths of the requests that arrived."""
    return [record["path"] for record in records]
