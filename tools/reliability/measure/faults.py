"""The faults: how each is made and undone in a Compose stack, and what a user must expect of it."""

import os
import signal
import subprocess
from contextlib import suppress

from tools.reliability.measure.event import Act, Event
from tools.stack import StackError
from tools.stack.compose import ORDER, ComposeStack, docker

# Reads and writes of the database, and what goes on without it.
MIX = {"reader": 2.0, "writer": 2.0, "static": 1.0}

# A worker of gunicorn, seen from inside its container: the first child of process 1.
_FIRST_WORKER = 'kill -{signal} "$(cut -d" " -f1 /proc/1/task/1/children)"'


# The gateway has other processes too: the one that writes the firewall's lines of the log, for instance.
_NGINX_WORKER = (
    'for pid in $(cat /proc/1/task/1/children); do grep -q "nginx: worker" "/proc/$pid/cmdline" && kill -9 "$pid" && exit; done; exit 1'
)


def signal_all(container: str, number: signal.Signals) -> None:
    """Stop, continue or kill every process of a container; the engine's `pause` gives up where cgroup v1 is slow to freeze."""
    for pid in docker("top", container, "-o", "pid").split()[1:]:
        with suppress(ProcessLookupError):
            _signal(int(pid), number)


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except PermissionError:
        raise StackError("only root may signal the processes of a container", hint="run this as root") from None


def _inside(service: str, script: str) -> Act:
    def act(stack: ComposeStack) -> None:
        docker("exec", stack.units(service)[0].id, "sh", "-c", script)

    return act


def _main_process(service: str, *, every: bool = False) -> Act:
    """Kill process 1 from outside, as the kernel does when memory is short: then the engine's restart policy counts."""

    def act(stack: ComposeStack) -> None:
        for unit in stack.units(service)[: None if every else 1]:
            _signal(int(docker("inspect", "--format", "{{.State.Pid}}", unit.id)), signal.SIGKILL)

    return act


def _signals(service: str, number: signal.Signals) -> Act:
    return lambda stack: signal_all(stack.units(service)[0].id, number)


def _engine(service: str, *command: str) -> Act:
    def act(stack: ComposeStack) -> None:
        docker(*command, stack.units(service)[0].id)

    return act


def _power_cut(stack: ComposeStack) -> None:
    """Everything at once, without a word of warning."""
    docker("kill", *(unit.id for unit in stack.processes()))


def _power_back(stack: ComposeStack) -> None:
    for service in reversed(ORDER):
        if units := stack.units(service):
            docker("start", *(unit.id for unit in units))


def _dns(rule: str) -> Act:
    """Drop what a container asks of Docker's DNS, by the packet filter of its own network."""

    def act(stack: ComposeStack) -> None:
        pid = docker("inspect", "--format", "{{.State.Pid}}", stack.units("gateway")[0].id)
        command = ["nsenter", "--target", pid, "--net", "iptables", rule, "OUTPUT", "--destination", "127.0.0.11", "--jump", "DROP"]
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
        if answer.returncode:
            raise StackError("the container's DNS cannot be cut off here", hint="it needs root and iptables", details=answer.stderr)

    return act


def _no_memory(stack: ComposeStack) -> None:
    """Fill a container's /tmp, which is memory, under a limit that leaves too little beside it: as a worker does that leaks."""
    app = stack.units("app")[0].id
    docker("update", "--memory=256m", "--memory-swap=256m", app)
    with suppress(StackError):  # the kernel may choose this one
        docker("exec", app, "sh", "-c", "dd if=/dev/zero of=/tmp/filler bs=1M 2>/dev/null; true")


def _memory_back(stack: ComposeStack) -> None:
    app = stack.units("app")[0].id
    docker("update", "--memory=512m", "--memory-swap=1g", app)
    docker("exec", app, "rm", "-f", "/tmp/filler")  # noqa: S108 - the container's


_FILL = "for folder in proxy body; do dd if=/dev/zero of=/run/nginx/$folder/filler bs=1M 2>/dev/null; done; true"

_WORKER, _APP = "requests in flight on it", _main_process("app")
_NO_DATABASE, _NO_CALL = "503 for what needs it, nothing else", "503 and 504 for what needs it, nothing else"
_STOPS, _GOES_ON, _FROZEN = signal.SIGSTOP, signal.SIGCONT, "as many as it may have in flight, after 35 s"
_CALL, _CALLED = "downstream", "The service that /lab/wait calls {} for 10 s or more"
_UNFILL = "rm -f /run/nginx/proxy/filler /run/nginx/body/filler"

# Name, title, what may fail, begin, end, seconds between, seconds afterwards.
_LISTED = (
    Event("nothing", "Nothing at all", "no failure: what the load costs by itself", lambda _: None, lasts_s=5),
    Event("kill-worker", "A gunicorn worker is killed (-9)", _WORKER, _inside("app", _FIRST_WORKER.format(signal="KILL"))),
    Event("kill-container", "An app container's main process is killed (-9)", _WORKER, _APP),
    Event("kill-apps", "All app containers are killed at once", "requests until one is up", _main_process("app", every=True), after_s=20),
    # There is one, and nobody passes by it: the engine starts it again.
    Event("kill-waf", "The WAF's main process is killed (-9)", "requests until it is up again", _main_process("waf"), after_s=20),
    # 45 s: longer than the gateway waits for an answer, 35 s.
    Event("freeze-container", "An app container freezes for 45 s", _FROZEN, _signals("app", _STOPS), _signals("app", _GOES_ON), 45, 15),
    # gunicorn kills it after its timeout, 30 s.
    Event(
        "hang-worker", "A gunicorn worker hangs", "requests given to it", _inside("app", _FIRST_WORKER.format(signal="STOP")), after_s=45
    ),
    Event(
        "no-memory", "The kernel kills an app container's workers for 5 s", "requests in flight on them", _no_memory, _memory_back, 5, 20
    ),
    Event("restart-database", "The database restarts", _NO_DATABASE, _engine("database", "restart"), after_s=20),
    Event("database-away", "No database for 10 s", _NO_DATABASE, _engine("database", "stop"), _engine("database", "start"), 10, 15),
    Event("freeze-database", "The database freezes", _NO_DATABASE, _signals("database", _STOPS), _signals("database", _GOES_ON), 10, 15),
    Event("freeze-downstream", _CALLED.format("freezes"), _NO_CALL, _signals(_CALL, _STOPS), _signals(_CALL, _GOES_ON), 15, 15, lab=True),
    Event("kill-downstream", _CALLED.format("dies"), _NO_DATABASE, _engine(_CALL, "kill"), _engine(_CALL, "start"), 10, 15, lab=True),
    Event(
        "full-disk",
        "nginx's temporary file systems are full",
        "no small request",
        _inside("gateway", _FILL),
        _inside("gateway", _UNFILL),
        10,
    ),
    Event("no-dns", "The gateway's DNS is gone for 10 s", "none: addresses stay in use", _dns("--insert"), _dns("--delete"), 10),
    Event("kill-nginx-worker", "An nginx worker is killed (-9)", _WORKER, _inside("gateway", _NGINX_WORKER)),
    Event("power-cut", "Everything is killed at once", "what is sent meanwhile", _power_cut, _power_back, 5, 30, moves_gateway=True),
)
FAULTS = {event.name: event for event in _LISTED}
