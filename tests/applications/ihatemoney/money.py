"""I Hate Money, shared budgets, set from the environment that the kit gives it."""

import os
from pathlib import Path

from ihatemoney.run import create_app
from sqlalchemy import make_url


class Settings:
    """What ihatemoney's own settings file would hold."""

    SECRET_KEY = Path(os.environ["SECRET_KEY_FILE"]).read_text()
    SQLALCHEMY_DATABASE_URI = (
        make_url(os.environ["DATABASE_URL"])
        .set(password=Path(os.environ["DATABASE_PASSWORD_FILE"]).read_text().strip())
        .render_as_string(hide_password=False)
    )
    SESSION_COOKIE_SECURE = False  # the tests use plain http


# It migrates its database itself, each time it is made: MIGRATE_COMMAND does so once, before several workers would at the same time.
app = create_app(Settings)


@app.get("/healthz")
def healthz() -> str:
    """Answer without asking the database."""
    return "ok"
