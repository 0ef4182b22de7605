"""A guestbook, and a laboratory: the sample site of the kit."""

import os
from collections.abc import Mapping
from pathlib import Path

from flask import Flask


def create_app(config: Mapping[str, object] | None = None) -> Flask:
    """Make the WSGI application.

    Settings come from the environment, and from `config`, which wins; what settings.py does not know in `config`
    goes to Flask. Raises SettingsError when a setting is missing or wrong.
    """
    # Here, not above: `python -m kit_app.staticfiles` and the downstream service need no application, and under
    # gevent the libraries must not be imported before it has patched the sockets.
    from kit_app import (
        api,
        database,
        health,
        lab,
        logs,
        pages,
        problems,
        proxy,
        record,
        routing,
        security,
        staticfiles,
    )
    from kit_app.settings import load_settings

    config = config or {}
    settings = load_settings({**os.environ, **config})
    app = Flask(__name__, static_folder=settings.static_root or staticfiles.SOURCES)
    app.config.update(config)
    app.config["MAX_CONTENT_LENGTH"] = settings.max_content_length
    app.config["MAX_FORM_MEMORY_SIZE"] = 100_000  # bytes of one field of a multipart form: ten times the longest message
    app.config["MAX_FORM_PARTS"] = 20  # our form has three

    # First, so that all that follows can be logged.
    logs.init_app(settings.log_format)
    routing.init_app(app)
    problems.init_app(app)
    security.init_app(app, settings.secret(Path(app.instance_path)))
    database.init_app(app, settings)
    staticfiles.init_app(app)

    app.register_blueprint(health.bp)
    app.register_blueprint(pages.bp)
    app.register_blueprint(api.bp)
    if settings.lab_enabled:
        lab.init_app(app, settings)

    # Middlewares wrap what is there: the recorder is last, so that it is outermost and sees every answer.
    proxy.init_app(app, settings.forwarded_allow_ips)
    record.init_app(app)
    return app
