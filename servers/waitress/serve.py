"""waitress on an inherited listening socket: serve.py FD THREADS."""

import socket
import sys

import waitress
from wsgi import application

waitress.serve(
    application,
    sockets=[socket.socket(fileno=int(sys.argv[1]))],
    threads=int(sys.argv[2]),
    # The application decides whom it trusts (kit_flask/proxy.py); by default waitress takes X-Forwarded-* out.
    clear_untrusted_proxy_headers=False,
)
