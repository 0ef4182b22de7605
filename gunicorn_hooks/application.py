"""A factory in APP_MODULE without its parentheses: gunicorn would fail at each request. It is called, as `flask --app` does."""

import inspect
from typing import Any

from gunicorn.errors import AppImportError

WSGI = 2  # parameters of an application: environ and start_response


def call_factory(worker: Any) -> None:
    """Replace a function without required parameters by what it returns."""
    function = worker.wsgi
    if not inspect.isfunction(function):
        return
    parameters = inspect.signature(function).parameters.values()
    required = [each.name for each in parameters if each.default is each.empty and each.kind is not each.VAR_KEYWORD]
    if not required:
        worker.wsgi = function()
    elif len(required) != WSGI and not any(each.kind is each.VAR_POSITIONAL for each in parameters):
        call = f"{function.__module__}:{function.__name__}({', '.join(required)})"
        raise AppImportError(f"APP_MODULE: {function.__name__} is no application; right would be {call}, with values in their place")
