"""gunicorn behind nginx, in a container. Tried with gunicorn 27.0.1; another version logs a warning at start.

Environment: APP_MODULE, WEB_CONCURRENCY, GUNICORN_WORKER_CLASS, GUNICORN_THREADS, GUNICORN_TIMEOUT, PRELOAD_LIBRARIES,
FORWARDED_ALLOW_IPS, GATEWAY_NETWORK_ALIAS, LOG_FORMAT. All else: GUNICORN_CMD_ARGS="--keep-alive 70 --backlog 512".
`python -m gunicorn_hooks` checks the environment and prints the sizing.
Each file of gunicorn_hooks/ can be deleted, with the lines that name it. To copy this file alone, delete all lines with
`gunicorn_hooks`; WEB_CONCURRENCY (default 1) is then the number of workers.
"""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # where gunicorn_hooks is
import gunicorn_hooks.application
import gunicorn_hooks.drain
import gunicorn_hooks.logs
import gunicorn_hooks.preload
import gunicorn_hooks.requests
import gunicorn_hooks.sizing
import gunicorn_hooks.trust

# --- Workers and threads

# gthread: a slow database costs a thread, not a process: right for most sites.
# sync: one request at a time, for pure CPU work or code that is not thread-safe.
# gevent: a greenlet per connection, for much waiting; drivers must wait cooperatively.
# tornado: one request at a time; ignores the request limits below, cuts streams 1 to 2 s after SIGTERM.
worker_class = os.environ.get("GUNICORN_WORKER_CLASS") or "gthread"

# Processes: WEB_CONCURRENCY, else by the CPU quota of the container, not the host's cores.
workers = gunicorn_hooks.sizing.workers(worker_class)

# Requests in flight per worker; exported as WORKER_CONCURRENCY, because each may hold a database connection.
# More than 1 with sync is refused: gunicorn would run gthread.
threads = os.environ.get("GUNICORN_THREADS") or (8 if worker_class == "gthread" else 1)

# A new worker after so many requests: leaks stay bounded; jitter keeps restarts apart.
max_requests = 10000
max_requests_jitter = 1000

if worker_class == "gevent":
    # gunicorn patches in the worker: what --preload imported by then would go on blocking, without a warning.
    from gevent import monkey

    monkey.patch_all()

# --- Timeouts, in seconds

# sync, tornado: a longer request is cut and its worker killed. gthread, gevent: only a hung worker is; there nginx's
# proxy_read_timeout (35s) limits a slow view. Above that, nginx gives up on work that goes on.
timeout = os.environ.get("GUNICORN_TIMEOUT") or 30

# Above nginx's upstream keepalive_timeout (1s): nginx must close first, or a POST meets a closing connection (502).
keepalive = 65

# The heartbeat file. On a disk that stalls, healthy workers would be killed; this is memory.
worker_tmp_dir = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None

# --- Request limits

# What nginx accepts must be accepted here, or the client gets gunicorn's bare error page.
limit_request_line = 8190        # bytes, gunicorn's most. Default 4094
limit_request_fields = 100       # the default: nginx passes 91 (max_headers), 9 are added
limit_request_field_size = 8193  # bytes with the line end: nginx's 8192, and a space that it adds. Default 8190

# --- Trusted proxies

# `bind` stays 127.0.0.1:8000; the image opens it to a private network with --bind. A unix socket trusts every peer.
# Who may set X-Forwarded-*: FORWARDED_ALLOW_IPS, else loopback (health check) and the network where GATEWAY_NETWORK_ALIAS
# names this container. The whole Internet is refused.
forwarded_allow_ips = gunicorn_hooks.trust.peers()

# nginx overwrites it. By default X-Forwarded-Ssl counts too: a client may send it, and gunicorn answers 400.
secure_scheme_headers = {"X-FORWARDED-PROTO": "https"}

forwarder_headers = ""  # by default a trusted peer may choose SCRIPT_NAME and PATH_INFO by header
control_socket_disable = True  # it is in $HOME: with a read-only root an error at each start

# --- Graceful shutdown

# What requests in flight get after SIGTERM. Above the container's stop_grace_period (40s) Docker cuts first.
graceful_timeout = 30
pre_request = gunicorn_hooks.requests.drop_abandoned  # clients that gave up waiting
post_request = gunicorn_hooks.requests.drain_body  # bodies left unread


def nworkers_changed(server, count, _before):
    """Check the final settings: the first hook that knows the command line; also on SIGHUP."""
    gunicorn_hooks.check_version(server.log)
    gunicorn_hooks.trust.check(server.cfg)
    gunicorn_hooks.sizing.check(server, count)


def when_ready(server):
    """Prepare the master. Connections wait in the listen backlog."""
    gunicorn_hooks.preload.import_libraries()
    gunicorn_hooks.drain.install(server)


def post_worker_init(worker):
    """Prepare a worker."""
    gunicorn_hooks.application.call_factory(worker)
    gunicorn_hooks.requests.refuse_half_bodies(worker)
    gunicorn_hooks.drain.release_listeners(worker)  # on SIGTERM, at once
    # Found at once: each request asks for 40 (docs/cost.md).
    vars(worker.cfg).update({name: setting.get() for name, setting in worker.cfg.settings.items()})
    if os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT"): from gunicorn_hooks.spans import install; install(worker)


# --- Logging

logger_class = gunicorn_hooks.logs.logger_class()  # no accesslog: nginx and the application log each request
if os.environ.get("METRICS"): from gunicorn_hooks.metrics import install as post_fork

# --- Application

wsgi_app = os.environ.get("APP_MODULE") or "kit_app:create_app()"
pythonpath = str(Path(__file__).resolve().parent / "app")  # beside the current folder
