"""Cookies, forged forms, and what a page may load."""

from flask import Flask, Request, Response, request
from flask.sessions import SecureCookieSession, SecureCookieSessionInterface, SessionMixin
from flask_wtf.csrf import CSRFProtect

csrf = CSRFProtect()
# No script at all, nothing inline, nothing from elsewhere: text that a visitor wrote cannot become code.
_POLICY = "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
# Of an answer that says nothing else. A page has a visitor's token in it, and the API's lists change: without a word of ours caches
# choose a lifetime of their own.
DEFAULTS = {"Content-Security-Policy": _POLICY, "Cache-Control": "private, no-cache"}


class _Sessions(SecureCookieSessionInterface):
    """Session cookies that are Secure exactly when the browser came over TLS.

    A fixed SESSION_COOKIE_SECURE would be wrong for one of http://localhost and https://example.org.
    """

    def get_cookie_name(self, app: Flask) -> str:
        # Browsers take a __Host- cookie only from this host and over TLS: no neighbour can plant one.
        return "__Host-session" if request.is_secure else "session"

    def get_cookie_secure(self, app: Flask) -> bool:
        return request.is_secure

    # Most requests bring no cookie and store nothing; Flask prepares for both in each.
    def open_session(self, app: Flask, request: Request) -> SecureCookieSession | None:
        session = super().open_session(app, request) if "HTTP_COOKIE" in request.environ else self.session_class()
        if session and app.config["SECRET_KEY_FALLBACKS"]:
            session.modified = True  # signed anew, or it dies with the key that signed it: Flask writes only what was changed
        return session

    def save_session(self, app: Flask, session: SessionMixin, response: Response) -> None:
        if session or session.modified or session.accessed:
            super().save_session(app, session, response)


def _check_form() -> None:
    if request.method in ("GET", "HEAD"):
        return
    # Flask's own bound holds for the fields of multipart forms alone: this kind is held in memory whole, up to MAX_CONTENT_LENGTH.
    if request.mimetype == "application/x-www-form-urlencoded":
        request.max_content_length = request.max_form_memory_size
    csrf.protect(apply_exemptions=True)  # looks for the token in the form


def init_app(app: Flask, secret: str, *fallbacks: str) -> None:
    """Protect the sessions, forms and pages of `app`."""
    app.config.update(
        SECRET_KEY=secret,
        SECRET_KEY_FALLBACKS=[*fallbacks],
        WTF_CSRF_SECRET_KEY=[*fallbacks, secret],  # the last signs; Flask-WTF does not look at the fallbacks by itself
        SESSION_COOKIE_SAMESITE="Lax",  # not sent with a form that another site posts
        WTF_CSRF_CHECK_DEFAULT=False,  # _check_form does: Flask-WTF would look for an exemption at each GET too
        WTF_CSRF_TIME_LIMIT=None,  # the token is valid as long as its session: a page left open over lunch can still be sent
        WTF_CSRF_SSL_STRICT=False,  # the token is the proof; comparing the Referer too locks out browsers that withhold it
    )
    app.session_interface = _Sessions()
    app.before_request(_check_form)
    csrf.init_app(app)
