"""Log to stdout: JSON for machines, text for people, one line for each event and the request id in all of them."""

import json
import logging
import sys
import time
from functools import lru_cache

from kit_flask.record import current_record

_HANDLER = "kit_app"
# Everything that a terminal or a log reader could take for the end of a line, or for a command.
_CONTROL = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0))} | {0x2028: "\\u2028", 0x2029: "\\u2029"}
# What every record has; the rest came by extra=.
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "request_id"}


def _add_request_id(record: logging.LogRecord) -> bool:
    request = current_record()
    record.request_id = request.request_id if request else None
    return True


def _extra(record: logging.LogRecord) -> dict[str, object]:
    return {key: value for key, value in vars(record).items() if key not in _STANDARD}


@lru_cache(maxsize=2)
def _time(second: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(second))


class _JsonFormatter(logging.Formatter):
    """An object in each line. python-json-logger's does more and takes twice as long, and a request has at least one line."""

    _encode = json.JSONEncoder(default=str).encode

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {"time": _time(int(record.created)), "level": record.levelname, "logger": record.name}
        line |= {"pid": record.process, "request_id": vars(record)["request_id"], "message": record.getMessage(), **_extra(record)}
        if record.exc_info:
            line["exc_info"] = self.formatException(record.exc_info)
        if record.stack_info:
            line["stack_info"] = record.stack_info
        return self._encode(line)


class _TextFormatter(logging.Formatter):
    """`time LEVEL logger [request] message key=value …`. All but the first line is indented, so no text can be taken for a line."""

    def format(self, record: logging.LogRecord) -> str:
        message, _, traceback = super().format(record).partition("\nTraceback")
        extra = [f"{key}={value}" for key, value in _extra(record).items()]
        lines = [" ".join([message, *extra]), *(f"Traceback{traceback}".split("\n") if traceback else [])]
        return "\n    ".join(line.translate(_CONTROL) for line in lines)


def _formatter(log_format: str) -> logging.Formatter:
    if log_format == "json" or (log_format == "auto" and not sys.stdout.isatty()):
        return _JsonFormatter()
    return _TextFormatter("%(asctime)s %(levelname)s %(name)s [%(request_id)s] %(message)s", "%H:%M:%S")


def init_app(log_format: str) -> None:
    """Send all log lines of this process to stdout as `log_format` (auto, json or text) says."""
    handler = logging.StreamHandler(sys.stdout)
    handler.set_name(_HANDLER)
    handler.addFilter(_add_request_id)
    handler.setFormatter(_formatter(log_format))
    root = logging.getLogger()
    # A second app in one process (tests do that) replaces the handler; two would write each line twice.
    root.handlers = [other for other in root.handlers if other.get_name() != _HANDLER] + [handler]
    root.setLevel(logging.INFO)
    logging.captureWarnings(capture=True)
