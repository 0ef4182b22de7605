"""A guestbook: the sample site of the kit."""

from collections.abc import Mapping
from functools import lru_cache

from flask import Flask
from flask_static_digest import FlaskStaticDigest

from kit_app import api, database, entries, health, pages, problems, security
from kit_app.settings import SettingsError, load_settings
from kit_flask import logs, record, sessions
from kit_flask.proxy import TrustedProxy


def create_app(config: Mapping[str, object] | None = None) -> Flask:
    """Make the WSGI application.

    Settings come from the environment, and from `config`, which wins; what settings.py does not know in `config` goes to Flask.
    Raises SettingsError when a setting is missing or wrong.
    """
    config = config or {}
    settings = load_settings(config)
    app = Flask(__name__, static_folder=settings.static_root or "static", static_url_path="/static")
    app.ensure_sync = lru_cache(1024)(app.ensure_sync)  # type: ignore[method-assign]  # whether a function is async, Flask asks at each call
    app.config.update(config)
    app.config.update(
        MAX_CONTENT_LENGTH=settings.max_content_length,
        MAX_FORM_MEMORY_SIZE=min(100_000, settings.max_content_length),  # bytes of one field, or of a form without files (security.py)
        MAX_FORM_PARTS=20,  # our form has three
        FLASK_STATIC_DIGEST_COMPRESSION=["gzip", "brotli"],  # what `flask digest compile` puts beside each file, for nginx
    )
    logs.init_app(settings.log_format)  # first, so that all that follows can be logged
    problems.init_app(app)
    security.init_app(app, settings.secret, *settings.secret_key_fallbacks_file.get_secret_value().splitlines())
    database.init_app(app, settings)
    sessions.init_app(app)
    entries.init_app(app)
    if not FlaskStaticDigest(app).manifests and settings.static_root:
        app.logger.warning("STATIC_ROOT has no cache_manifest.json: `flask digest compile` makes it")

    for module in (health, pages, api):
        app.register_blueprint(module.bp)
    if settings.lab_enabled:
        try:
            import kit_lab  # only then: the site runs without that folder
        except ModuleNotFoundError:
            raise SettingsError("LAB_ENABLED: there is no kit_lab here") from None
        kit_lab.init_app(app, settings)

    # Middlewares wrap what is there: the recorder is last, so that it is outermost and sees every answer.
    app.wsgi_app = TrustedProxy(app.wsgi_app, settings.forwarded_allow_ips)  # type: ignore[method-assign]
    record.init_app(app, security.DEFAULTS)
    return app
