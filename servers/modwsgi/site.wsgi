# What WSGIScriptAlias names. The application itself is found by PYTHONPATH.
from wsgi import application  # noqa: F401
