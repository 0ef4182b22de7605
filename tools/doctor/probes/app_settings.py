# ruff: noqa: INP001 - handed to another interpreter, never imported
"""Runs beside the application (this machine's Python or the container's), and prints what gunicorn and Flask make of their settings.

Not imported by the doctor: it is handed to another interpreter on stdin (`python - ORDER`), so it uses nothing of the doctor
and nothing newer than the oldest Python that gunicorn runs on. ORDER is JSON:
    argv      gunicorn's command line, without its name
    pretend   null, or {root, names, cores}: files of /proc and /sys, host names and processor count of a container
    ask       also connect to the application's database and read its limits
The answers are lines of JSON on stdout after MARK, because an application may print too: gunicorn's settings first,
then the application's, which may hang or end this process while it is imported.
"""

from __future__ import annotations

import _socket
import builtins
import contextlib
import io
import json
import logging
import os
import socket
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gunicorn.config import Config

MARK = "doctor-answer:"
HIDDEN = ("/proc/self/cgroup", "/proc/self/mountinfo", "/proc/net/route", "/sys/fs/cgroup")


def pretend(root: str, names: dict[str, str], cores: int) -> None:
    """Let the configuration see a container's limits: read on the host, it would size itself by the host."""

    def moved(path: Any) -> Any:
        text = os.fspath(path) if isinstance(path, (str, os.PathLike)) else path
        return root + text if isinstance(text, str) and text.startswith(HIDDEN) else path

    real_open, real_stat, real_lookup = io.open, os.stat, socket.gethostbyname

    def pretended_lookup(name: str) -> str:
        return names[name] if name in names else real_lookup(name)

    def pretended_open(file: Any, *args: Any, **options: Any) -> Any:
        return real_open(moved(file), *args, **options)

    patches = (
        (io, "open", pretended_open),
        (builtins, "open", pretended_open),
        (os, "stat", lambda path, *args, **options: real_stat(moved(path), *args, **options)),
        (os, "cpu_count", lambda: cores),
        (os, "process_cpu_count", lambda: cores),
        (os, "sched_getaffinity", lambda _pid: set(range(cores))),
        (socket, "gethostbyname", pretended_lookup),
        (_socket, "gethostbyname", pretended_lookup),  # gevent takes it from here when it patches
    )
    for module, name, replacement in patches:
        setattr(module, name, replacement)


def load_gunicorn() -> Config:
    """Take gunicorn's own way to its settings: file, environment, command line."""
    from gunicorn.app.base import Application

    class Reader(Application):
        def init(self, _parser: Any, _opts: Any, args: list[str]) -> dict[str, str] | None:
            return {"wsgi_app": args[0]} if args else None

        def load(self) -> Any:
            raise NotImplementedError

    return Reader().cfg


def readable(value: Any) -> Any:
    """Return the value if JSON can hold it, else its name."""
    if isinstance(value, (list, tuple)):
        return [readable(item) for item in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return getattr(value, "__name__", str(value))


def gunicorn_settings(cfg: Config) -> dict[str, dict[str, Any]]:
    found = {}
    for name, setting in cfg.settings.items():
        found[name] = {"value": readable(setting.get()), "default": readable(setting.default)}
    # `-k sync --threads 2` runs gthread: the class that will really run is what counts.
    found["worker_class"]["value"] = cfg.worker_class_str
    return found


def flask_settings(cfg: Config, *, ask: bool) -> dict[str, Any]:
    """Return the application's limits, or {"error": why they cannot be read}."""
    from gunicorn import util

    for path in (cfg.pythonpath or "").split(","):
        if path:
            sys.path.insert(0, str(Path(path).resolve()))
    try:
        app = util.import_app(cfg.wsgi_app or "wsgi:application")
    except BaseException as error:  # noqa: BLE001 - an application may raise, or exit, for any reason
        return {"error": f"{cfg.wsgi_app} cannot be imported here: {in_one_line(error)}"}
    if not hasattr(app, "config") or not hasattr(app, "app_context"):
        return {"error": f"{cfg.wsgi_app} is not a Flask application"}
    answer = {"max_content_length": app.config.get("MAX_CONTENT_LENGTH")}
    try:
        with app.app_context():
            answer.update(pool_settings(app, ask=ask))
    except Exception as error:  # noqa: BLE001 - a database driver may raise anything
        answer.setdefault("pool_error", in_one_line(error))
    return answer


def pool_settings(app: Any, *, ask: bool) -> dict[str, Any]:
    extension = app.extensions.get("sqlalchemy")
    if extension is None:
        return {"pool_error": "the application does not use Flask-SQLAlchemy"}
    engine = extension.engine
    if engine.dialect.name == "sqlite":
        return {"pool_error": "SQLite is a file, it has no connections to run out of"}
    answer: dict[str, Any] = {}
    if hasattr(engine.pool, "size") and hasattr(engine.pool, "_max_overflow"):
        answer["pool"] = {"size": engine.pool.size(), "overflow": engine.pool._max_overflow}  # noqa: SLF001 - SQLAlchemy has no public name for it
    else:
        answer["pool_error"] = f"{type(engine.pool).__name__} does not bound the connections"
    if ask:
        answer.update(database_settings(engine))
    return answer


def database_settings(engine: Any) -> dict[str, Any]:
    if engine.dialect.name != "postgresql":
        return {"database_error": "the doctor can ask PostgreSQL only"}
    names = ("max_connections", "superuser_reserved_connections", "reserved_connections")
    question = f"select name, setting from pg_settings where name in {names}"  # noqa: S608 - constants
    try:
        with engine.connect() as connection:
            return {"database": {name: int(value) for name, value in connection.exec_driver_sql(question)}}
    except Exception as error:  # noqa: BLE001 - a database driver may raise anything
        return {"database_error": f"it does not answer: {in_one_line(error)}"}


def in_one_line(error: BaseException) -> str:
    words = " ".join(str(error).split())
    return f"{type(error).__name__}: {words}" if words else type(error).__name__


def say(answer: dict[str, Any]) -> None:
    print("\n" + MARK + json.dumps(answer), flush=True)


def main() -> None:
    order = json.loads(sys.argv[1])
    if order["pretend"]:
        pretend(**order["pretend"])
    sys.argv = ["gunicorn", *order["argv"]]
    cfg = load_gunicorn()
    with contextlib.suppress(SystemExit):  # what it refuses, a rule names
        cfg.nworkers_changed(SimpleNamespace(cfg=cfg, log=logging.getLogger("probe")), cfg.workers, None)  # exports WORKER_CONCURRENCY
    say({"settings": gunicorn_settings(cfg), "environment": dict(os.environ)})
    say({"app": flask_settings(cfg, ask=order["ask"])})
    os._exit(0)  # threads that the application started must not keep this process


if __name__ == "__main__":
    main()
