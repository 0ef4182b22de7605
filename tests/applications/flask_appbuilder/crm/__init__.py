"""Contacts with notes and files, by Flask-AppBuilder: what its users build, in one small application."""

import os
from pathlib import Path

from flask import Flask
from flask_appbuilder import AppBuilder
from flask_appbuilder.utils.legacy import get_sqla_class
from sqlalchemy import make_url
from werkzeug.middleware.proxy_fix import ProxyFix

db = get_sqla_class()()
appbuilder = AppBuilder()


def create_app() -> Flask:
    """Return the application, set from the environment that the kit gives it."""
    app = Flask(__name__)
    url = make_url(os.environ.get("DATABASE_URL", "sqlite://"))
    if password := os.environ.get("DATABASE_PASSWORD_FILE"):
        url = url.set(password=Path(password).read_text().strip())
    app.config.update(
        APP_NAME="Contacts",
        SECRET_KEY=Path(os.environ["SECRET_KEY_FILE"]).read_text() if "SECRET_KEY_FILE" in os.environ else "for the build alone",
        SQLALCHEMY_DATABASE_URI=url,
        SQLALCHEMY_ENGINE_OPTIONS={"pool_size": int(os.environ["WORKER_CONCURRENCY"])} if "WORKER_CONCURRENCY" in os.environ else {},
        MAX_CONTENT_LENGTH=int(os.environ.get("MAX_CONTENT_LENGTH", "10485760")),
        FAB_ADD_SECURITY_API=True,
        FAB_API_SWAGGER_UI=True,
        # The default lies inside the package, which is read-only in the image.
        UPLOAD_FOLDER=f"{app.instance_path}/uploads/",
        IMG_UPLOAD_FOLDER=f"{app.instance_path}/uploads/",
    )
    app.wsgi_app = ProxyFix(app.wsgi_app, x_for=1, x_proto=1, x_host=1)

    @app.get("/healthz")
    def healthz() -> str:
        return "ok"

    db.init_app(app)
    with app.app_context():
        appbuilder.init_app(app, db.session)
        from crm import views  # they need the tables' classes of a builder that is set up

        views.register(appbuilder)
    return app
