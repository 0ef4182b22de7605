"""Canaille, an OpenID Connect provider, set from the environment that the kit gives it."""

import json
import os
from pathlib import Path

from canaille import create_app as make_canaille
from canaille.app import models
from flask import Flask
from joserfc.jwk import RSAKey
from sqlalchemy import make_url
from werkzeug.middleware.proxy_fix import ProxyFix

# Made once, by MIGRATE_COMMAND: else each worker makes one, and a token of one container is not valid in another.
KEY = Path("instance/key.json")
RIGHTS = ["edit_self", "use_oidc", "manage_oidc", "manage_users", "manage_all_groups"]


def create_app() -> Flask:
    """Return the application."""
    url = make_url(os.environ["DATABASE_URL"])
    if password := Path(os.environ["DATABASE_PASSWORD_FILE"]).read_text().strip():
        url = url.set(password=password)
    app = make_canaille(
        {
            "SECRET_KEY": Path(os.environ["SECRET_KEY_FILE"]).read_text(),
            "CANAILLE": {"ACL": {"DEFAULT": {}, "ADMIN": {"FILTER": {"user_name": "ana"}, "PERMISSIONS": RIGHTS}}},
            "CANAILLE_SQL": {"DATABASE_URI": url.render_as_string(hide_password=False), "AUTO_MIGRATE": False},
            "CANAILLE_OIDC": {"ACTIVE_JWKS": [json.loads(KEY.read_text())] if KEY.exists() else None},
        }
    )
    app.wsgi_app = ProxyFix(app.wsgi_app, x_for=1, x_proto=1, x_host=1, x_prefix=1)

    @app.get("/healthz")
    def healthz() -> str:
        return "ok"

    return app


if __name__ == "__main__":
    if not KEY.exists():
        KEY.write_text(json.dumps(RSAKey.generate_key(2048, auto_kid=True).as_dict(private=True)))
    app = create_app()
    with app.app_context():
        app.backend.install(app)
        with app.backend.session():
            if not app.backend.get(models.User, user_name="ana"):
                ana = {"user_name": "ana", "family_name": "Admin", "formatted_name": "Ana Admin", "password": "correct horse"}
                app.backend.save(models.User(**ana))
