"""An application as others write them: it checks its hosts, insists on https, and calls other services."""

import json
import socket

from flask import Flask, Response, redirect, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug.middleware.proxy_fix import ProxyFix

app = Flask(__name__)
app.config["TRUSTED_HOSTS"] = ["www.example.org", "shop.example.org"]
app.wsgi_app = ProxyFix(app.wsgi_app, x_for=1, x_proto=1, x_host=1, x_prefix=1)  # type: ignore[method-assign]


@app.before_request
def insist_on_https() -> ResponseReturnValue | None:
    """Redirect, as Flask-Talisman does."""
    return None if request.is_secure else redirect(request.url.replace("http://", "https://", 1))


@app.get("/healthz")
def healthz() -> str:
    return "ok"


@app.get("/seen")
def seen() -> Response:
    """What the application takes the request for."""
    facts = {"client": request.remote_addr, "link": url_for("seen", _external=True), "headers": dict(request.headers)}
    return Response(json.dumps(facts), mimetype="application/json")


@app.get("/call")
def call() -> str:
    """Connect to a service elsewhere."""
    try:
        with socket.create_connection((request.args["host"], int(request.args["port"])), 3):
            return "reached"
    except OSError as error:
        return str(error)
