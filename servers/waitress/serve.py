"""waitress on an inherited listening socket: serve.py FD THREADS."""

import socket
import sys

import waitress
import waitress.task
from wsgi import application

# While the container drains, wsgi.py says `Connection: close`, which waitress refuses with 500 as a matter between itself and its client.
waitress.task.hop_by_hop -= {"connection"}
waitress.serve(
    application,
    sockets=[socket.socket(fileno=int(sys.argv[1]))],
    threads=int(sys.argv[2]),
    # The application decides whom it trusts (kit_flask/proxy.py); by default waitress takes X-Forwarded-* out.
    clear_untrusted_proxy_headers=False,
)
