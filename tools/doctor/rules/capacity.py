"""What the numbers add up to: connections of the database, memory, processors, sockets, disk."""

import math
from collections.abc import Iterator
from typing import Any

from tools.doctor.facts import APP, GATEWAY, App, Facts, Nginx, Pool, Service, TempFiles, need
from tools.doctor.rules.base import Judgement, Rule, broken, directive, handing_on, not_applicable, ok, warn, worst
from tools.doctor.tree import Scope, scopes
from tools.doctor.units import show_bytes, size_bytes
from tools.doctor.values import NotKnown, Setting

# Memory of a Python process with Flask, SQLAlchemy and a driver loaded, and of gunicorn's master, before they do any work.
# (The sample site, measured: 150 MiB in a container with two gthread workers.)
WORKER_FLOOR = 56 * 1024**2
MASTER_FLOOR = 32 * 1024**2
# Above this, more processes per core only take memory and wait for each other (gunicorn's own advice ends at 4).
WORKERS_PER_CPU = 4
# Last part of the folder -> what bounds one file in it, and nginx's default for that.
FILE_BOUNDS = {"proxy": ("proxy_max_temp_file_size", "1024m"), "body": ("client_max_body_size", "1m")}
# Linux cuts a longer queue down to net.core.somaxconn (4096) without a word; a shorter one refuses in a burst.
BACKLOG_RANGE = range(64, 4097)


def _pool(app: App) -> Pool:
    return need(app.pool)


def _database(facts: Facts) -> Judgement:
    replicas, workers = need(facts.compose).service(APP).replicas, need(facts.gunicorn).get("workers")
    pool, database = _pool(need(facts.app)), need(facts.database)
    if pool.overflow.value < 0:
        return broken("a process may open any number of connections (max_overflow -1)", pool.size, pool.overflow, database.max_connections)
    each = pool.size.value + pool.overflow.value
    wanted = replicas.value * workers.value * each
    free = database.max_connections.value - database.reserved.value
    values: tuple[Setting[Any], ...] = (replicas, workers, pool.size, pool.overflow, database.max_connections, database.reserved)
    sum_text = f"{replicas.value} replicas x {workers.value} workers x {each} connections = {wanted}"
    if wanted > free:
        return broken(f"{sum_text} > {free}", *values)
    fits = free // (workers.value * each)
    return ok(f"{sum_text} ≤ {free}; room for {fits} replicas", *values)


def _threads(facts: Facts) -> Judgement:
    gunicorn, pool = need(facts.gunicorn), _pool(need(facts.app))
    worker_class = gunicorn.get("worker_class")
    each = pool.size.value + pool.overflow.value
    if worker_class.value == "gevent":
        connections = gunicorn.get("worker_connections")
        return not_applicable(
            f"up to {connections.value} greenlets share {each} connections on purpose", worker_class, connections, pool.size
        )
    threads = gunicorn.get("threads")
    if pool.overflow.value >= 0 and each < threads.value:
        return broken(f"{threads.value} threads share {each} connections", threads, pool.size, pool.overflow)
    return ok(f"{each} connections for {threads.value} threads", threads, pool.size, pool.overflow)


def _processors(facts: Facts) -> Judgement:
    workers, cpus = need(facts.gunicorn).get("workers"), need(facts.compose).service(APP).cpus
    if cpus.value is None:
        return broken("app has no CPU limit: one container can take the whole host", workers, cpus)
    most = max(WORKERS_PER_CPU * math.ceil(cpus.value), 2)
    if workers.value > most:
        return broken(f"{workers.value} workers for {cpus.shown} CPU, at most {most} are of use", workers, cpus)
    return ok(f"{workers.value} workers for {cpus.shown} CPU", workers, cpus)


def _memory(facts: Facts) -> Judgement:
    workers, memory = need(facts.gunicorn).get("workers"), need(facts.compose).service(APP).memory
    if memory.value is None:
        return broken("app has no memory limit: a leak takes the host down with it", workers, memory)
    floor = MASTER_FLOOR + workers.value * WORKER_FLOOR
    text = f"{workers.value} workers need {show_bytes(floor)} or more"
    if memory.value < floor:
        return broken(f"{text}, the limit is {memory.shown}", workers, memory)
    return ok(f"{text}, the limit is {memory.shown}", workers, memory)


def _sockets(facts: Facts) -> Judgement:
    main = Scope((need(facts.nginx).tree,))
    events = next(scopes(main.here, "events"), main)
    connections = directive(events, "worker_connections", "512", int)
    files = directive(main, "worker_rlimit_nofile", "0", int)
    if not files.editable:
        return broken("worker_rlimit_nofile is not set: the limit is whatever the container was given", files, connections)
    if files.value < 2 * connections.value:
        return broken(f"{files.value} files < 2 x {connections.value} connections", files, connections)
    return ok(f"{files.value} files ≥ 2 x {connections.value} connections", files, connections)


def _queue(facts: Facts) -> Judgement:
    backlog = need(facts.gunicorn).get("backlog")
    if backlog.value in BACKLOG_RANGE:
        return ok(f"{backlog.value} connections may wait", backlog)
    return warn(f"a backlog of {backlog.value} is not within {BACKLOG_RANGE[0]} to {BACKLOG_RANGE[-1]}", backlog)


def _in_work(facts: Facts) -> Judgement:
    """A bound below the slots leaves workers idle while visitors are refused; without one an overload becomes a queue."""
    bounds = [bound for upstream in scopes(need(facts.nginx).tree, "upstream") for bound in _bounds(upstream)]
    if not bounds:
        return warn("nothing bounds how many requests wait for a worker (max_conns)", edit=("MAX_IN_WORK in .env",))
    gunicorn, replicas = need(facts.gunicorn), need(facts.compose).service(APP).replicas
    worker_class, workers = gunicorn.get("worker_class"), gunicorn.get("workers")
    in_each = gunicorn.get("worker_connections" if worker_class.value == "gevent" else "threads")
    slots = workers.value * in_each.value
    behind, bound = min(bounds, key=lambda pair: pair[1].value)
    if behind:  # in front of the firewall it holds for all containers together, otherwise for each
        slots *= replicas.value
    values = (bound, replicas, workers, in_each)
    if worker_class.value == "gevent":
        return ok(f"{bound.value} of up to {slots} greenlets: as many as shall wait at once", *values)
    if bound.value < slots:
        return broken(f"{bound.value} requests are let in, {slots} could be in work", *values)
    return ok(f"{bound.value} requests are let in, {slots} can be in work", *values)


def _bounds(upstream: Scope) -> Iterator[tuple[bool, Setting[int]]]:
    """What each server of an upstream may have at once; whether it is this nginx itself; a server that stands twice counts twice."""
    found: dict[str, Setting[int]] = {}
    for node in upstream.here.all("server"):
        for argument in node.args:
            if argument.startswith("max_conns="):
                before = found[node.args[0]].value if node.args[0] in found else 0
                most = before + int(argument.removeprefix("max_conns="))
                found[node.args[0]] = Setting("max_conns", most, str(most), node.origin)
    return ((address.startswith("unix:"), bound) for address, bound in found.items())


def _idle_connections(facts: Facts) -> Judgement:
    gunicorn, nginx = need(facts.gunicorn), need(facts.nginx)
    worker_class = gunicorn.get("worker_class")
    if worker_class.value not in {"gthread", "gevent"}:
        return not_applicable(f"a {worker_class.value} worker counts no connections", worker_class)
    handing_on(nginx)
    own = gunicorn.get("worker_connections")
    kept = [_kept(upstream) for upstream in scopes(nginx.tree, "upstream")]
    if not kept:
        return not_applicable("no upstream block keeps connections", own)
    most = max(kept, key=lambda setting: setting.value)
    processes = directive(Scope((nginx.tree,)), "worker_processes", "1", str)
    if not processes.value.isdigit():
        return warn(f"worker_processes {processes.value} counts the host's cores, not the container's limit", processes)
    idle = int(processes.value) * most.value
    if idle >= own.value:
        return broken(f"nginx may keep {idle} idle connections, a worker takes {own.value}", processes, most, own)
    return ok(f"at most {idle} idle connections, a worker takes {own.value}", processes, most, own)


def _temp_files(facts: Facts) -> Judgement:
    nginx, gateway = need(facts.nginx), need(facts.compose).service(GATEWAY)
    if not nginx.temp_files:
        raise NotKnown("nginx/render does not say how many temp files it counts on (temp-files.tsv)")
    values: list[Setting[Any]] = []
    says: list[str] = []
    for temp in nginx.temp_files:
        each, mount = _largest_file(nginx, temp), _mount(temp.folder, gateway)
        values += [each, mount]
        if mount.value is None:
            return broken(f"{temp.folder} has no bound", *values)
        needed = each.value * temp.at_once
        says.append(f"{temp.at_once} x {each.shown} in {mount.shown} ({temp.folder})")
        if needed > mount.value:
            return broken(f"{temp.at_once} files of {each.shown} in {temp.folder} do not fit in {mount.shown}", *values)
    return ok("; ".join(says), *values)


def _largest_file(nginx: Nginx, temp: TempFiles) -> Setting[int]:
    """The directive that bounds one file in that folder."""
    name, default = FILE_BOUNDS.get(temp.folder.rpartition("/")[2], ("", ""))
    return worst(nginx, name, default, size_bytes, show_bytes, pick=max) if name else temp.each


def _mount(folder: str, gateway: Service) -> Setting[int | None]:
    """The tmpfs in which the folder lies."""
    over = [path for path in gateway.tmpfs if folder == path or folder.startswith(f"{path}/")]
    if not over:
        raise NotKnown(f"{folder} is in no tmpfs of the gateway, so its size is that of a disk")
    return gateway.tmpfs[max(over, key=len)]


def _kept(upstream: Scope) -> Setting[int]:
    return directive(upstream, "keepalive", "32", int)


RULES = (
    Rule(
        "database-connections",
        "replicas x workers x pool ≤ connections of the database",
        "the last replicas to start get `too many clients` from the database, under load and not before",
        _database,
    ),
    Rule(
        "pool-threads",
        "database pool ≥ threads of a worker",
        "threads wait for each other's connection and time out while the database is idle",
        _threads,
    ),
    Rule(
        "cpu-workers",
        "workers follow the CPU limit of the container, not the host's cores",
        "dozens of workers share one CPU, and each of them takes its memory",
        _processors,
    ),
    Rule(
        "memory-workers",
        "memory limit of app ≥ what its workers need",
        "the kernel kills a worker in the middle of a request",
        _memory,
    ),
    Rule(
        "open-files",
        "worker_rlimit_nofile ≥ 2 x worker_connections",
        "each request takes two sockets; without files left nginx refuses clients with `Too many open files`",
        _sockets,
    ),
    Rule(
        "temp-files",
        "temp files of slow clients fit in the gateway's tmpfs",
        "a few slow readers fill it, and then every answer that needs a temp file is cut off",
        _temp_files,
    ),
    Rule(
        "backlog",
        "gunicorn's backlog is neither tiny nor cut by the kernel",
        "a burst is refused at once, or waits in a queue shorter than the one that was asked for",
        _queue,
    ),
    Rule(
        "in-work",
        "requests that nginx lets in ≥ slots of the gunicorn workers",
        "visitors are refused while workers are idle; without a bound all wait, and in an overload nobody is answered in time",
        _in_work,
    ),
    Rule(
        "idle-connections",
        "idle connections that nginx keeps < worker_connections of a gunicorn worker",
        "idle connections fill a worker, and new requests wait behind them",
        _idle_connections,
    ),
)
