"""gunicorn's own lines as JSON (python-json-logger)."""

import importlib.util
import os
import sys
from typing import Any

from gunicorn.glogging import Logger
from gunicorn.instrument.statsd import Statsd

from gunicorn_hooks import refuse


def logger_class() -> type[Logger] | str:
    """Return the class for LOG_FORMAT. (logconfig_dict could do it, but it turns the access log on.)"""
    wanted = os.environ.get("LOG_FORMAT") or "auto"
    if wanted not in {"auto", "json", "text"}:
        refuse(f"LOG_FORMAT={wanted}: right is auto, json or text")
    if wanted == "text" or (wanted == "auto" and sys.stderr.isatty()):
        return "gunicorn.glogging.Logger"  # the default; gunicorn makes it Statsd when statsd_host is set
    if not importlib.util.find_spec("pythonjsonlogger"):
        print("gunicorn.conf.py: python-json-logger is not installed, so gunicorn's own lines are text", file=sys.stderr)
        return "gunicorn.glogging.Logger"
    return JsonLogger


class JsonLogger(Statsd):
    """One JSON object for each line. Statsd, because gunicorn takes that by itself only in place of its default; idle without a host."""

    def setup(self, cfg: Any) -> None:
        """Set the formatter of gunicorn's own handlers."""
        from pythonjsonlogger.json import JsonFormatter

        super().setup(cfg)
        if not cfg.statsd_host:  # Statsd would make its three messages at each request all the same
            self.access = super(Statsd, self).access  # type: ignore[method-assign]
        layout = JsonFormatter(
            ["asctime", "levelname", "name", "process", "message"],
            rename_fields={"asctime": "time", "levelname": "level", "name": "logger", "process": "pid"},
            datefmt="%Y-%m-%dT%H:%M:%S%z",
        )
        for handler in (*self.error_log.handlers, *self.access_log.handlers):
            if getattr(handler, "_gunicorn", False):
                handler.setFormatter(layout)
