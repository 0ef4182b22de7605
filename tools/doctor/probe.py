"""Runs beside the application (this machine's Python or the container's), and prints what gunicorn and Flask make of their settings.

`python - ORDER` with this file on stdin. ORDER is JSON:
    argv    gunicorn's command line, without its name
    folder  where gunicorn_hooks is, and the CPU limit that the sizing shall follow (cpus); null: as this machine says
    ask     also connect to the application's database and read its limits
The answers are lines of JSON after MARK: gunicorn's settings first, then the application's, which may hang or end this process.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import signal
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

MARK = "doctor-answer:"
PATIENCE_S = 120


def load_gunicorn() -> Any:
    """Take gunicorn's own way to its settings: file, GUNICORN_CMD_ARGS, command line; and then the checks of the hooks."""
    from gunicorn.app.base import Application

    class Reader(Application):
        def init(self, _parser: Any, _opts: Any, args: list[str]) -> dict[str, str] | None:
            return {"wsgi_app": args[0]} if args else None

        def load(self) -> Any:
            raise NotImplementedError

    cfg = Reader().cfg
    with contextlib.suppress(SystemExit):  # what they refuse, a rule names
        cfg.nworkers_changed(SimpleNamespace(cfg=cfg, log=logging.getLogger("doctor")), cfg.workers, None)
    return cfg


def readable(value: Any) -> Any:
    """Return the value if JSON can hold it, else its name."""
    if isinstance(value, (list, tuple)):
        return [readable(item) for item in value]
    return value if value is None or isinstance(value, (bool, int, float, str)) else getattr(value, "__name__", str(value))


def load_application(cfg: Any) -> Any:
    from gunicorn import util

    worker = SimpleNamespace(wsgi=util.import_app(cfg.wsgi_app or "wsgi:application"))
    with contextlib.suppress(ImportError):
        from gunicorn_hooks.application import call_factory

        call_factory(worker)
    return worker.wsgi


def digest(app: Any) -> bytes:
    return hashlib.sha256(repr(app.config["SECRET_KEY"]).encode()).digest()


def digest_elsewhere(cfg: Any) -> int:
    """Import the application in another process, as another worker does; return what its digest of the secret key can be read from."""
    reader, writer = os.pipe()
    if os.fork() == 0:
        signal.alarm(PATIENCE_S)
        with contextlib.suppress(BaseException):
            os.write(writer, digest(load_application(cfg)))
        os._exit(0)
    os.close(writer)
    return reader


def flask_settings(cfg: Any, *, ask: bool) -> dict[str, Any]:
    sys.path[:0] = [str(Path(path).resolve()) for path in (cfg.pythonpath or "").split(",") if path]
    elsewhere = digest_elsewhere(cfg)
    try:
        app = load_application(cfg)
    except BaseException as error:  # noqa: BLE001 - an application may raise, or exit, for any reason
        return {"error": f"{cfg.wsgi_app} cannot be imported here: {in_one_line(error)}"}
    if not hasattr(app, "config") or not hasattr(app, "app_context"):
        return {"error": f"{cfg.wsgi_app} is not a Flask application"}
    same = os.read(elsewhere, 32) in {b"", digest(app)} if app.config.get("SECRET_KEY") else None
    answer = {"max_content_length": app.config.get("MAX_CONTENT_LENGTH"), "secret_key": same}
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
    if engine.dialect.name != "postgresql":
        return {"pool_error": f"the doctor knows connections of PostgreSQL only, not of {engine.dialect.name}"}
    if not hasattr(engine.pool, "_max_overflow"):
        return {"pool_error": f"{type(engine.pool).__name__} does not bound the connections"}
    answer: dict[str, Any] = {"pool": engine.pool.size(), "overflow": engine.pool._max_overflow}  # noqa: SLF001 - it has no public name
    if ask:
        question = "select name, setting from pg_settings where name ~ '^(max|(superuser_)?reserved)_connections$'"
        with engine.connect() as connection:
            answer["database"] = {name: int(value) for name, value in connection.exec_driver_sql(question)}
    return answer


def in_one_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}".rstrip(": ")


def main() -> None:
    order = json.loads(sys.argv[1])
    sys.argv = ["gunicorn", *order["argv"]]
    if order["cpus"]:
        sys.path.insert(0, order["folder"])
        with contextlib.suppress(ImportError):
            from gunicorn_hooks import sizing

            sizing.usable_cpus = lambda: (order["cpus"], "the limit of the Compose file")
    cfg = load_gunicorn()
    settings = {name: readable(setting.get()) for name, setting in cfg.settings.items()} | {"worker_class": cfg.worker_class_str}
    print(f"\n{MARK}{json.dumps({'settings': settings, 'environment': dict(os.environ)})}", flush=True)
    print(f"\n{MARK}{json.dumps({'app': flask_settings(cfg, ask=order['ask'])})}", flush=True)
    os._exit(0)  # threads that the application started must not keep this process


if __name__ == "__main__":
    main()
