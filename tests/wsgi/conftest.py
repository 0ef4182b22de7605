"""The kit's gunicorn with the kit's own settings, before applications that tell what it does."""

from tests.gunicorn_conf.conftest import edited, start

__all__ = ["edited", "start"]
