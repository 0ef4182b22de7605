"""Werkzeug's development server on an inherited listening socket, without debugger and reloader: serve.py FD."""

import sys

from werkzeug.serving import make_server
from wsgi import application

make_server("0.0.0.0", 8000, application, threaded=True, fd=int(sys.argv[1])).serve_forever()  # noqa: S104 - the name of the socket
