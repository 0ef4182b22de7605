"""Whether this process is alive, and whether it can do its work."""

from flask import Blueprint

from kit_flask.sessions import ping

bp = Blueprint("health", __name__)


@bp.get("/healthz")
def healthz() -> dict[str, str]:
    """This process answers. Without the database: restarting a container does not bring a database back."""
    return {"status": "ok"}


@bp.get("/readyz")
def readyz() -> dict[str, str]:
    """This process and its database answer; 503 with Retry-After when the database does not."""
    ping()
    return {"status": "ok", "database": "ok"}
