"""gunicorn behind nginx, set for a container. One file: copy it as it is into another project.

It needs gunicorn alone (gevent or tornado when that worker class is asked for; python-json-logger for JSON logs).
Read it top to bottom: what was asked for, the worker class, how many workers, how long, how large, who is in
front, what is logged, and which application. Set it from the environment rather than by editing it:

    APP_MODULE              the application, "package.module:name"
    PRELOAD_LIBRARIES       modules that are imported once for all workers, with spaces between them (section 10)
    WEB_CONCURRENCY         worker processes; not set: they follow the CPU quota of the container
    GUNICORN_<NAME>         any setting of gunicorn: GUNICORN_TIMEOUT=60, GUNICORN_WORKER_CLASS=gevent, ...
    FORWARDED_ALLOW_IPS     who may say that a request came by https and from whom; not set: worked out (section 6)
    GATEWAY_NETWORK_ALIAS   a name of this container on the network that it shares with nginx
    LOG_FORMAT              json, text, or auto (text on a terminal, json elsewhere)

The command line and GUNICORN_CMD_ARGS beat the environment, which beats what is written here. A setting that gunicorn
does not know, or cannot read, stops the start with one line that names it. `python gunicorn.conf.py` checks the
environment and prints the sizing without starting anything.
Not set here because gunicorn's default is right: backlog, worker_connections, preload_app (it would keep SIGHUP from
loading new code), reuse_port (no gain measured), http_parser, header_map (names with "_" are dropped: "X_Real_IP" and
"X-Real-IP" would become one variable).
"""

from __future__ import annotations

import contextlib
import difflib
import errno
import gc
import importlib.util
import ipaddress
import json
import math
import os
import shlex
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn


def warn(sentence: str) -> None:
    """Say what will not be as somebody may expect; the start goes on."""
    print(f"gunicorn.conf.py: {sentence}", file=sys.stderr)


def refuse(*sentences: str) -> NoReturn:
    """Say what was wrong, one line each, and stop gunicorn before it listens (exit code 2)."""
    for sentence in sentences:
        warn(sentence)
    raise SystemExit(2)


# gunicorn reads this variable while it is imported and dies with a traceback when it is no number, before this file has
# a say. Run as a script (`python gunicorn.conf.py`), the file does have a say: the kit does that before it starts.
WEB_CONCURRENCY = os.environ.get("WEB_CONCURRENCY")
if WEB_CONCURRENCY is not None and not (WEB_CONCURRENCY.strip().isdecimal() and int(WEB_CONCURRENCY) > 0):
    refuse(f"WEB_CONCURRENCY={WEB_CONCURRENCY}: right is a number of processes, 1 or more, or unset (CPU quota)")

import gunicorn.config  # noqa: E402 - after the check above
from gunicorn.glogging import Logger  # noqa: E402

# --- 1. What was asked for -------------------------------------------------------------------------------------------

# Variables of gunicorn's own that are not settings: its arguments, and what it hands to itself on SIGUSR2.
# (Kubernetes adds GUNICORN_PORT and more when a Service is named "gunicorn": rename it, or enableServiceLinks: false.)
NOT_SETTINGS = {"GUNICORN_CMD_ARGS", "GUNICORN_PID", "GUNICORN_FD"}


def environment() -> dict[str, Any]:
    """Return every GUNICORN_<NAME> of the environment as {setting: value}, typed by gunicorn's own table of settings.

    An empty variable counts as not set: Compose passes `${NAME:-}` that way.
    """
    table: dict[str, Any] = {str(setting.name): setting for setting in gunicorn.config.KNOWN_SETTINGS}
    found, wrong = {}, []
    for variable, text in sorted(os.environ.items()):
        name = variable.removeprefix("GUNICORN_").lower()
        if not variable.startswith("GUNICORN_") or variable in NOT_SETTINGS or not text.strip():
            continue
        if name == "config":
            wrong.append(f"{variable}: too late here; name the file on the command line, gunicorn --config FILE")
        elif name not in table:
            near = difflib.get_close_matches(name, table, n=1)
            hint = f"the nearest is GUNICORN_{near[0].upper()}" if near else "`gunicorn --help` lists them"
            wrong.append(f"{variable}: gunicorn {gunicorn.__version__} has no setting {name!r}; {hint}")
        else:
            try:
                found[name] = typed(table[name](), text.strip())
            except Exception as error:  # noqa: BLE001 - each setting has its own validator, which may raise anything
                wrong.append(f"{variable}={text}: {error}; right would be {right(table[name])}")
    if wrong:
        refuse(*wrong)
    return found


def typed(setting: Any, text: str) -> Any:
    """Return `text` as this setting takes it from a file: words make a list, JSON a table; its validator has a say."""
    value: Any = text
    if isinstance(setting.default, list):
        value = shlex.split(text)
    elif isinstance(setting.default, dict):
        value = json.loads(text)
    elif setting.type:
        value = setting.type(text)
    setting.set(value)
    return value


def right(setting: Any) -> str:
    """Describe a value that this gunicorn setting takes."""
    default = setting.default
    if isinstance(default, bool):
        return "true or false"
    if isinstance(default, list):
        return "words, separated by spaces"
    if isinstance(default, dict):
        return f"JSON, such as {json.dumps(default)}"
    kind = setting.meta or "a value"
    return kind if default in (None, "") or callable(default) else f"{kind}, such as {default}"


def command_line() -> dict[str, Any]:
    """Return what gunicorn was told on its command line and in GUNICORN_CMD_ARGS: both beat this file."""
    if "gunicorn.app.base" not in sys.modules:  # read by a script or a test: the command line is not gunicorn's
        return {}
    parser = gunicorn.config.Config().parser()
    told: dict[str, Any] = {}
    for arguments in (shlex.split(os.environ.get("GUNICORN_CMD_ARGS", "")), sys.argv[1:]):
        given = vars(parser.parse_args(arguments))
        told |= {name: value for name, value in given.items() if value is not None and name != "args"}
    return told


ENVIRONMENT = environment()
ASKED = {**ENVIRONMENT, **command_line()}

# --- 2. Worker class -------------------------------------------------------------------------------------------------

# One process per worker; what it does with several requests at once is the class:
#   gthread  a pool of threads. Slow databases and services cost a thread, not a process: right for most sites.
#   sync     one request at a time. For work that only uses the CPU, or code that is not thread-safe.
#   gevent   a greenlet per connection. For much waiting; the code must wait cooperatively (see the patch below).
#   tornado  one WSGI request at a time on an event loop. Does not apply the limits of section 5, writes no access log,
#            cuts streaming answers 1 to 2 seconds after SIGTERM: for applications that must have it.
WORKER_CLASSES = {"gthread": None, "sync": None, "gevent": "gevent", "tornado": "tornado"}  # and the package it needs
LAX = "it applies no header limits, and takes Content-Length together with chunked: requests can be smuggled"
REFUSED_CLASSES = {
    "eventlet": "gunicorn removed it in 26.0",
    "gevent_wsgi": LAX,
    "gevent_pywsgi": LAX,
    "asgi": "it serves ASGI applications, and Flask is WSGI",
}

worker_class = ASKED.get("worker_class", "gthread")
if worker_class not in WORKER_CLASSES:
    reason = REFUSED_CLASSES.get(worker_class, "this file cannot size it")
    near = difflib.get_close_matches(str(worker_class), WORKER_CLASSES, n=1) or ["gthread"]
    refuse(
        f"worker class {worker_class}: {reason}; the nearest is {near[0]}, "
        f"valid are {', '.join(WORKER_CLASSES)} (GUNICORN_WORKER_CLASS)"
    )
if (package := WORKER_CLASSES[worker_class]) and not importlib.util.find_spec(package):
    refuse(f"worker class {worker_class}: {package} is not installed; pip install 'gunicorn[{package}]'")

if worker_class == "gevent":
    # Here, in the master, before the application or any library of its is imported. gunicorn patches too, but in the
    # worker: with preload_app the application is imported by then, and what it took from `socket` or `ssl` stays
    # blocking, without a warning (16 database waits of 0.5 s took 9.8 s instead of 0.6 s; TLS failed with TypeError).
    from gevent import monkey

    if not monkey.is_module_patched("socket"):  # this file is read again on SIGHUP
        monkey.patch_all()

# --- 3. How many -----------------------------------------------------------------------------------------------------

# With no limit on this process the cores are the host's, which this process shares with everything else there: a
# 64-core machine would get 64 workers in each of three containers. So at most this many are counted; WEB_CONCURRENCY
# asks for more.
UNLIMITED_CPUS = 4


def cpu_quota(root: Path = Path("/")) -> float | None:
    """Return how many CPUs the cgroup of this process may use (the smallest quota up its tree), None without a quota.

    `root` holds the `proc` and the mounted cgroup file systems: a test puts its own trees there.
    """
    try:
        quotas = [folder_quota(folder) for folder in cgroup_folders(root)]
    except OSError:  # no /proc: not Linux
        return None
    return min((quota for quota in quotas if quota is not None), default=None)


def cgroup_folders(root: Path) -> Iterator[Path]:
    """Yield the folder of this process's CPU cgroup and those above it, for cgroup v1 and v2.

    A container may see its own cgroup as the root of the mount while /proc/self/cgroup names the path on the host, so
    the path is taken relative to what /proc/self/mountinfo says is mounted there.
    """
    paths: dict[str, Path] = {}  # of this process's cgroups, by controller; "" is cgroup v2
    for line in (root / "proc/self/cgroup").read_text().splitlines():
        _, controllers, own = line.split(":", 2)
        paths |= dict.fromkeys(controllers.split(","), Path(own))
    for line in (root / "proc/self/mountinfo").read_text().splitlines():
        mount, _, source = line.partition(" - ")
        mounted, point = (Path(field) for field in mount.split()[3:5])
        kind, _, options = source.split(maxsplit=2)
        if kind == "cgroup2" or (kind == "cgroup" and "cpu" in options.split(",")):
            path = paths.get("" if kind == "cgroup2" else "cpu", mounted)
            inside = path.relative_to(mounted) if path.is_relative_to(mounted) and ".." not in path.parts else Path()
            yield from (root / point.relative_to("/") / step for step in (inside, *inside.parents))


def folder_quota(folder: Path) -> float | None:
    """Return the CPUs that this cgroup folder allows, None when it sets no limit (or is not there)."""
    try:
        if (limit := folder / "cpu.max").exists():  # v2: "50000 100000", or "max 100000"
            quota, period = limit.read_text().split()
        else:  # v1: -1 is no limit
            quota, period = ((folder / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
    except OSError:
        return None
    return None if quota == "max" or int(quota) <= 0 else int(quota) / int(period)


def usable_cpus() -> tuple[float, str]:
    """Return how many CPUs this process can count on, and the reason in words."""
    try:
        cores = len(os.sched_getaffinity(0))  # a cpuset (`docker run --cpuset-cpus`) shows here
    except AttributeError:  # macOS
        cores = os.cpu_count() or 1
    quota = cpu_quota()
    if quota is not None and quota <= cores:
        return quota, f"CPU quota of {quota:g}"
    if quota is not None or cores < (os.cpu_count() or 1):
        return cores, f"{cores} CPUs of the cpuset"
    return min(cores, UNLIMITED_CPUS), f"no CPU limit, {cores} cores seen, at most {UNLIMITED_CPUS} counted"


def default_workers() -> tuple[int, str]:
    """Return the number of worker processes when nobody asked for one, and the reason in words."""
    cpus, reason = usable_cpus()
    whole = max(1, math.ceil(cpus))
    if worker_class == "sync":  # while one process waits, another must be there to use the CPU
        return 2 * whole + 1, f"2 x CPUs + 1, {reason}"
    # Never a single one: while it restarts (max_requests) or hangs until its timeout, nobody would answer.
    return max(2, whole), f"one per CPU and at least 2, {reason}"


if WEB_CONCURRENCY:
    workers, workers_reason = int(WEB_CONCURRENCY), "WEB_CONCURRENCY"
else:
    workers, workers_reason = default_workers()
if "workers" in ASKED:
    workers, workers_reason = ASKED["workers"], "GUNICORN_WORKERS or the command line"
if workers < 1:
    refuse(f"workers={workers}: without a worker nobody answers; 1 or more")

if "threads" in ASKED and worker_class == "sync" and ASKED["threads"] > 1:
    refuse(
        f"threads={ASKED['threads']} with worker class sync: gunicorn would silently run gthread instead; "
        "set GUNICORN_WORKER_CLASS=gthread, or leave GUNICORN_THREADS out"
    )
if "threads" in ASKED and worker_class not in ("sync", "gthread"):
    warn(f"threads={ASKED['threads']} has no effect with worker class {worker_class}")
# Only for gthread: with sync a number above 1 turns the class into gthread (see above).
# 8 waiting requests per process; each thread may hold one database connection, so the pool grows with it.
threads = ASKED.get("threads", 8) if worker_class == "gthread" else 1

# How many requests one worker handles at once. The application sizes its database pool by it: a smaller pool makes
# threads wait for each other, a larger one holds connections that nobody can use.
CONCURRENCY = {"gthread": threads, "gevent": ASKED.get("worker_connections", 1000)}.get(worker_class, 1)
os.environ["WORKER_CONCURRENCY"] = str(CONCURRENCY)

# --- 4. How long -----------------------------------------------------------------------------------------------------

# Seconds. sync, tornado: a request that takes longer is cut off and its worker killed. gthread, gevent: only a worker
# whose main loop hangs is; there nginx's proxy_read_timeout is the limit of a slow view. Same as the default; written
# down because proxy_read_timeout (35s) must stay above it, or nginx gives up on work that still goes on.
# It does not cover a hanging import at start: the container's health check does.
timeout = 30
# From SIGTERM to SIGKILL: what is in work is finished. Same as the default; written down because the container's
# stop_grace_period (40s) must stay above it, or Docker kills the master first and its requests with it.
graceful_timeout = 30
# How long an idle connection of nginx is kept. Above nginx's own (keepalive_timeout of the upstream, 1s), so that nginx
# closes first: otherwise gunicorn closes while nginx is sending, and a POST then ends in 502. (sync closes after every
# answer.) While it stops, gunicorn answers "Connection: close" and gives idle connections 2 s more (gthread) or waits
# for them (gevent): nginx's 1 s is below both. tornado does neither and cuts what is open 1 to 2 s after SIGTERM.
keepalive = 65
# Replace a worker after so many requests: what leaks memory stays bounded. With jitter, or all workers, started
# together, would be replaced together.
max_requests = 10000
max_requests_jitter = 1000
# The heartbeat is a file that each worker touches. On a disk that stalls (or an overlay file system), the master takes
# a healthy worker for dead and kills it; /dev/shm is memory, and there even with a read-only root.
if os.access("/dev/shm", os.W_OK):
    worker_tmp_dir = "/dev/shm"

# --- 5. How large ----------------------------------------------------------------------------------------------------

# What nginx lets through must be accepted here, or a client gets this server's bare error page instead of the site's.
# nginx takes a line of 8k (large_client_header_buffers); the default here, 4094, refuses URLs that nginx accepted.
limit_request_line = 8190  # bytes, the most that gunicorn allows
# Same as the default; written down because what nginx passes (max_headers, 94) and the 6 it adds must not exceed it.
limit_request_fields = 100
# A field counts with its line end here: nginx's 8192, and the space that nginx adds to a client's "Name:value". Default 8190.
limit_request_field_size = 8193

# --- 6. Who is in front ----------------------------------------------------------------------------------------------

# `bind` is gunicorn's default, 127.0.0.1:8000: for nginx on this machine. Whoever reaches this port goes around nginx,
# its limits and its headers, so opening it is the image's decision (GUNICORN_BIND=0.0.0.0:8000 in app/Dockerfile,
# where the port is published to no one and only containers of a private network can reach it).
# With a unix socket in GUNICORN_BIND every peer is trusted, whatever stands below.


def gateway_network(alias: str, routes: Path = Path("/proc/net/route")) -> str:
    """Return the network (CIDR) on which this container is called `alias`: nginx reaches us from there.

    The network's address is Docker's choice, so it cannot be written down. OSError when the name does not resolve,
    LookupError when no attached network holds its address.
    """
    address = ipaddress.IPv4Address(socket.gethostbyname(alias))
    for line in routes.read_text().splitlines()[1:]:
        _interface, destination, router, _flags, _refs, _use, _metric, mask, *_ = line.split()
        target, via, bits = (int.from_bytes(bytes.fromhex(number), "little") for number in (destination, router, mask))
        network = ipaddress.IPv4Network((target, bits.bit_count()))
        if via == 0 and bits and address in network:
            return str(network)
    raise LookupError(f"{address} is on no network of this container")


def trusted_peers() -> tuple[list[str], str]:
    """Return the addresses and networks that may set X-Forwarded-*, and where they come from."""
    given: str = ASKED.get("forwarded_allow_ips", os.environ.get("FORWARDED_ALLOW_IPS", ""))
    peers = [peer.strip() for peer in given.split(",") if peer.strip()]
    for peer in peers:
        try:
            everybody = peer == "*" or ipaddress.ip_network(peer).prefixlen == 0
        except ValueError as error:
            refuse(f"FORWARDED_ALLOW_IPS: {error}; right would be 127.0.0.1, or 172.18.0.0/16, or both with a comma")
        if everybody:
            refuse(f"FORWARDED_ALLOW_IPS={peer}: any client could claim any address; name the network of nginx")
    if peers:
        return peers, "FORWARDED_ALLOW_IPS"
    if not (alias := os.environ.get("GATEWAY_NETWORK_ALIAS")):
        return ["127.0.0.1", "::1"], "loopback"
    try:
        return [gateway_network(alias)], f"the network of {alias}"
    except (OSError, LookupError) as error:
        refuse(f"GATEWAY_NETWORK_ALIAS={alias}: {error}; right is a name of this container on nginx's network")


trusted, trusted_reason = trusted_peers()
forwarded_allow_ips = ",".join(trusted)
# The application's ProxyFix looks here, so that both layers trust the same peers (tornado leaves it to ProxyFix alone).
os.environ["FORWARDED_ALLOW_IPS"] = forwarded_allow_ips

# The one header that nginx overwrites. By default X-Forwarded-Ssl and X-Forwarded-Protocol count as well; a client can
# send those through nginx, they contradict X-Forwarded-Proto, and gunicorn answers 400.
secure_scheme_headers = {"X-FORWARDED-PROTO": "https"}
# By default a trusted peer may set SCRIPT_NAME and PATH_INFO by header. The kit's nginx never does, so nobody may: one
# `underscores_in_headers on` there would let a client choose another path than the one that nginx checked.
forwarder_headers = ""

# Since 25.1 gunicorn opens a control socket in $HOME/.gunicorn: with a read-only root an error line at each start, and
# elsewhere two instances of one user take it from each other. Signals do all that is needed here.
control_socket_disable = True

# Connections are closed by waiting up to 2 s for the peer to close too (gunicorn 26 and later; sync and gthread, on the
# thread that accepts). Five clients that do not close stall all others for 10 s; nginx closes at once (100 requests to a
# single sync worker took 0.7 s through it). One more reason not to let clients reach this port.

# --- 7. What is logged -----------------------------------------------------------------------------------------------

# accesslog stays off: nginx and the application write one line for each request, with the same request id; a third line
# would say less than either. GUNICORN_ACCESSLOG=- turns it on.
LOG_FORMAT = os.environ.get("LOG_FORMAT") or "auto"
if LOG_FORMAT not in ("auto", "json", "text"):
    refuse(f"LOG_FORMAT={LOG_FORMAT}: right would be auto, json or text")


def json_logger() -> type[Logger]:
    """Return gunicorn's logger with its own lines as JSON. (logconfig_dict could, but it turns the access log on)."""
    from gunicorn.instrument.statsd import Statsd
    from pythonjsonlogger.json import JsonFormatter

    layout = JsonFormatter(
        ["asctime", "levelname", "name", "process", "message"],
        rename_fields={"asctime": "time", "levelname": "level", "name": "logger", "process": "pid"},
        datefmt="%Y-%m-%dT%H:%M:%S%z",
    )

    def setup(self: Logger, cfg: gunicorn.config.Config) -> None:
        Logger.setup(self, cfg)
        for handler in (*self.error_log.handlers, *self.access_log.handlers):
            if getattr(handler, "_gunicorn", False):
                handler.setFormatter(layout)

    # gunicorn takes Statsd by itself, but only while logger_class is the default.
    return type("JsonLogger", (Statsd if ASKED.get("statsd_host") else Logger,), {"setup": setup})


if LOG_FORMAT == "json" or (LOG_FORMAT == "auto" and not sys.stderr.isatty()):
    if importlib.util.find_spec("pythonjsonlogger"):
        logger_class = json_logger()
    else:
        warn("python-json-logger is not installed, so gunicorn's own log lines are text")

SIZING = (
    f"{workers} workers of class {worker_class} ({workers_reason}), {CONCURRENCY} requests at once in each; "
    f"X-Forwarded-* taken from {forwarded_allow_ips} ({trusted_reason})"
)


def on_starting(server: Any) -> None:
    """Log the sizing and its reason: the first question when a container is slow."""
    server.log.info(SIZING)


on_reload = on_starting  # SIGHUP reads the quota again

# --- 8. How it stops ---------------------------------------------------------------------------------------------------

# nginx sends a request to another container when a connection is refused, a POST too, because nothing was sent yet. It
# cannot when the connection was made and then breaks. Left alone, gunicorn's workers keep the listening socket open
# while they finish, accept nothing from it, and at the end the kernel resets what was queued there. So on SIGTERM:
# 1. no new connection comes in, 2. what is queued is still accepted, 3. the socket is closed, everywhere: refused.

# A socket that is bound to a network interface is not found by what comes in over another one: bound to one that does not
# exist, it refuses newcomers as if it were closed, and keeps who is queued. Linux asks for no privilege (since 5.7).
SO_BINDTOIFINDEX = 62  # include/uapi/asm-generic/socket.h
NO_INTERFACE = 2**31 - 1
QUEUE_EMPTIES_S = 5  # of graceful_timeout + 10 s that the container has; at the bound what is queued is reset


def close_the_door(listeners: list[Any]) -> None:
    """Let nobody new in, and return when the workers have accepted all who stood in the queue."""
    for listener in listeners:
        with contextlib.suppress(OSError):  # an older kernel: then only the queue is emptied
            listener.sock.setsockopt(socket.SOL_SOCKET, SO_BINDTOIFINDEX, NO_INTERFACE)
    until = time.monotonic() + QUEUE_EMPTIES_S
    while True:
        time.sleep(0.02)  # what came in just before becomes visible in less
        waiting = half_made(listeners) or any(listener.get_backlog() > 0 for listener in listeners)
        if not waiting or time.monotonic() > until:
            return


def half_made(listeners: list[Any]) -> bool:
    """Say whether a connection waits for the last packet of its handshake: nginx may have sent its request by then.

    The kernel lists them (state 03, SYN_RECV) and does not count them as queued. On a busy machine they stay for long.
    """
    inet = [listener.sock for listener in listeners if listener.sock.family in (socket.AF_INET, socket.AF_INET6)]
    ports = {f"{sock.getsockname()[1]:04X}" for sock in inet}
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError), Path(table).open() as lines:  # no IPv6, or not Linux
            for _, local, _, state, *_ in map(str.split, lines):
                if state == "03" and local.rpartition(":")[2] in ports:
                    return True
    return False


def when_ready(server: Any) -> None:
    """Import what the workers will share, and have the master close the door before it tells them to stop.

    Here, because now it listens: who comes meanwhile stands in the queue, and is not refused. (SIGHUP does not come here, and
    leaves the door open.)
    """
    import_libraries()
    leave = server.handle_term

    def handle_term() -> None:
        if sys.platform == "linux":
            close_the_door(server.LISTENERS)
        leave()

    server.handle_term = handle_term


def post_worker_init(worker: Any) -> None:
    """Have a worker that is told to stop let go of the listening socket at once, not when its last request is done.

    Another socket, that nobody connects to, takes its place under the same number: closing it would break a worker that
    is just about to accept. With the last process the socket itself goes, and from then on connections are refused.
    """
    leave = signal.getsignal(signal.SIGTERM)

    def stop(number: int, frame: Any) -> None:
        with socket.create_server(("127.0.0.1", 0)) as nobody:
            nobody.setblocking(False)
            for listener in worker.sockets:
                os.dup2(nobody.fileno(), listener.fileno(), inheritable=False)
        if callable(leave):
            leave(number, frame)

    signal.signal(signal.SIGTERM, stop)
    signal.siginterrupt(signal.SIGTERM, False)  # as gunicorn does: a system call of a request in work goes on

# --- 9. Who has gone ---------------------------------------------------------------------------------------------------

# Visitors who wait give up and come again. nginx closes their connection to us, but what they asked still stands in the
# queue, complete, and gunicorn would work through all of it for nobody: an overload that lives on after it has ended.
TCP_STATE_CLOSE, TCP_STATE_CLOSE_WAIT = 7, 8  # include/net/tcp_states.h: reset; the other side has closed


def pre_request(worker: Any, req: Any) -> None:
    """Drop a request whose sender has gone before its view begins. (Not known to tornado, nor on a unix socket.)

    A client that only closes its sending side looks the same; nginx and the health check never do that.
    """
    state = 0
    with contextlib.suppress(AttributeError, OSError):  # not Linux, or not TCP
        state = req.unreader.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
    if state in (TCP_STATE_CLOSE, TCP_STATE_CLOSE_WAIT):
        worker.log.debug("the client of %s has gone", req.path)
        raise ConnectionResetError(errno.ECONNRESET, "the client has gone")  # gunicorn closes, and says nothing

# --- 10. Which application ---------------------------------------------------------------------------------------------

wsgi_app = os.environ.get("APP_MODULE") or "kit_app:create_app()"
# Imported from the current folder, or from an `app` folder beside this file (in a checkout, and in the image).
if (sources := Path(__file__).resolve().parent / "app").is_dir():
    pythonpath = str(sources)

# What a worker does before its first request is mostly to import libraries, and after its last to take them apart; after
# SIGHUP, max_requests or a crash it takes that time from workers who serve. These the master imports before it forks: its
# workers are born with them, and share their memory. (The sample site: 0.11 s of CPU for a worker's start and end instead
# of 0.67, and 141 MiB for three instead of 213.) preload_app would do so with the application too, and SIGHUP could load no
# new code; here it still does. Only new versions of these libraries need a new master (SIGUSR2, or a new container).
PRELOAD_LIBRARIES = os.environ.get("PRELOAD_LIBRARIES", "").split()


def import_libraries() -> None:
    """Import PRELOAD_LIBRARIES in the master, before it forks. Raises SystemExit when one of them cannot be imported."""
    before = set(threading.enumerate())
    for name in PRELOAD_LIBRARIES:
        try:
            importlib.import_module(name)
        except Exception as error:  # noqa: BLE001 - a module may raise anything
            refuse(f"PRELOAD_LIBRARIES: {name}: {error}; right are modules that can be imported here, such as flask sqlalchemy")
    started = ", ".join(thread.name for thread in set(threading.enumerate()) - before)
    if started:  # only the thread that forks lives on in a worker: locks that others held stay locked
        warn(f"PRELOAD_LIBRARIES: importing them started a thread ({started}), which no worker would have; leave that one out")
        os._exit(2)  # SystemExit would wait for the thread
    # The workers' garbage collectors leave alone what is there by now, at their end too: to look at an object is to write
    # into it, and then its memory is no longer shared.
    gc.freeze()

# --- Last: what the environment asked for replaces what is written above ---------------------------------------------

globals().update(ENVIRONMENT)

# A check ends before there is a master; and the path is not set yet, of which gunicorn's first entry is the current folder.
if __name__ == "__main__" or ASKED.get("check_config"):
    sys.path[:0] = [str(Path.cwd()), str(sources)]
    import_libraries()
if __name__ == "__main__":
    print(SIZING)
