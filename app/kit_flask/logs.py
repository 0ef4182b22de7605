"""Log to stdout: JSON for machines, text for people, one line for each event and the request id in all of them."""

import json
import logging
import os
import sys
import time
from contextlib import suppress
from contextvars import ContextVar
from functools import lru_cache

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)  # of the request that is being answered
_HANDLER = "kit_app"
# What a terminal or a log reader could take for the end of a line, or for a command.
_CONTROL = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0))} | {0x2028: "\\u2028", 0x2029: "\\u2029"}
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "request_id"}  # of every record; the rest: extra=
_OURS = {"time", "level", "logger", "pid"}


def _extra(record: logging.LogRecord) -> dict[str, object]:
    return {f"{key}_" if key in _OURS else key: value for key, value in vars(record).items() if key not in _STANDARD}


@lru_cache(maxsize=4)
def _start(at: int, level: str, logger: str, pid: int) -> str:
    return json.dumps({"time": time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(at)), "level": level, "logger": logger, "pid": pid})[:-1]


class _JsonHandler(logging.StreamHandler):  # type: ignore[type-arg]  # it takes none at run time
    """An object in each line. python-json-logger's formatter does more and takes twice as long."""

    _encode = json.JSONEncoder(default=str).encode

    def format(self, record: logging.LogRecord) -> str:
        extra = _extra(record)
        if record.exc_info:
            extra["exc_info"] = (self.formatter or logging.Formatter()).formatException(record.exc_info)
        if record.stack_info:
            extra["stack_info"] = record.stack_info
        return self.line(record.created, record.levelname, record.name, record.getMessage(), extra)

    def line(self, created: float, level: str, logger: str, message: str, extra: dict[str, object]) -> str:
        rest = self._encode({"request_id": request_id.get(), "message": message, **extra})
        return f"{_start(int(created), level, logger, os.getpid())}, {rest[1:]}"


class _TextFormatter(logging.Formatter):
    """`time LEVEL logger [request] message key=value …`. All but the first line is indented, so no text can be taken for a line."""

    def format(self, record: logging.LogRecord) -> str:
        record.request_id = request_id.get()
        message, _, traceback = super().format(record).partition("\nTraceback")
        extra = [f"{key}={value}" for key, value in _extra(record).items()]
        lines = [" ".join([message, *extra]), *(f"Traceback{traceback}".split("\n") if traceback else [])]
        return "\n    ".join(line.translate(_CONTROL) for line in lines)


def log(logger: logging.Logger, message: str, extra: dict[str, object]) -> None:
    """Log at INFO. Where only our handler sees it, without a LogRecord: that would cost as much again as the line, at each request."""
    configured = logger.handlers or logger.filters or not logger.propagate or logging.getLogRecordFactory() is not logging.LogRecord
    match logging.root.handlers:
        case _ if not logger.isEnabledFor(logging.INFO):
            pass
        case [_JsonHandler(level=0, filters=[], lock=lock) as ours] if lock and not configured:
            line = ours.line(time.time(), "INFO", logger.name, message, extra) + "\n"
            with lock, suppress(OSError, ValueError):  # a full disk is no reason to fail
                ours.stream.write(line)
                ours.stream.flush()
        case _:  # info() would also look for the line of code that called it
            logger.handle(logger.makeRecord(logger.name, logging.INFO, __file__, 0, message, (), None, extra=extra))


def init_app(log_format: str) -> None:
    """Send all log lines of this process to stdout as `log_format` (auto, json or text) says."""
    as_json = log_format == "json" or (log_format == "auto" and not sys.stdout.isatty())
    handler = (_JsonHandler if as_json else logging.StreamHandler)(sys.stdout)
    handler.set_name(_HANDLER)
    if not as_json:
        handler.setFormatter(_TextFormatter("%(asctime)s %(levelname)s %(name)s [%(request_id)s] %(message)s", "%H:%M:%S"))
    root = logging.getLogger()
    # A second app in one process (tests do that) replaces the handler; two would write each line twice.
    root.handlers = [other for other in root.handlers if other.get_name() != _HANDLER] + [handler]
    root.setLevel(logging.INFO)
    logging.captureWarnings(capture=True)
