"""A back office by Flask-Admin: articles with rich text, edited in the list, exported, and files that are managed."""

import os
from pathlib import Path

from flask import Flask
from flask_admin import Admin
from flask_admin.contrib.fileadmin import FileAdmin
from flask_admin.contrib.sqla import ModelView
from flask_admin.form import SecureForm
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.orm import Mapped, mapped_column

db = SQLAlchemy()


class Article(db.Model):
    """An article of the site."""

    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str]
    text: Mapped[str]
    published: Mapped[bool] = mapped_column(default=False)


class ArticleView(ModelView):
    """List with search, filters, inline editing and export."""

    form_base_class = SecureForm
    column_searchable_list = ("title", "text")
    column_filters = ("published", "title")
    column_editable_list = ("title",)
    can_export = True


def create_app() -> Flask:
    """Return the application, set from the environment that the kit gives it."""
    app = Flask(__name__)
    app.config.update(
        SECRET_KEY=Path(os.environ["SECRET_KEY_FILE"]).read_text() if "SECRET_KEY_FILE" in os.environ else "for the build alone",
        SQLALCHEMY_DATABASE_URI=os.environ.get("DATABASE_URL", "sqlite://"),
    )
    db.init_app(app)
    admin = Admin(app, name="Back office")
    admin.add_view(ArticleView(Article, db.session))
    files = Path(app.instance_path) / "files"
    if files.is_dir():
        admin.add_view(FileAdmin(str(files), "/files/", name="Files"))

    @app.get("/healthz")
    def healthz() -> str:
        return "ok"

    @app.cli.command("init")
    def init() -> None:
        """Make folder and tables."""
        files.mkdir(exist_ok=True)
        db.create_all()

    return app
