"""Work for load tests and demonstrations. Every route has a cap, and without LAB_ENABLED=1 there is none of them."""

from typing import TYPE_CHECKING

from flask import Flask

if TYPE_CHECKING:
    from kit_app.settings import Settings


def init_app(app: Flask, settings: "Settings") -> None:
    """Register the routes of the lab."""
    # Here, not above: the downstream service needs no application.
    from kit_app.security import csrf
    from kit_lab import context, lifecycle, process, wait, work

    wait.init_app(app, settings)
    lifecycle.init_app(app, settings)
    for module in (work, wait, process, context):
        csrf.exempt(module.bp)  # for programs, and without rights
        app.register_blueprint(module.bp, url_prefix="/lab")
