"""Make the replica of compose/replica.yaml the primary, while the site runs."""

from __future__ import annotations

import re
from collections.abc import Callable
from subprocess import CompletedProcess
from time import monotonic

from tools.stack.base import READY_TIMEOUT_S, StackError
from tools.stack.compose import ComposeStack
from tools.stack.waiting import wait_until

NODES = ("database", "replica")
# What compose/database/start finds on its volume: it follows the other one, and waits for it.
_DEMOTED = "/var/lib/postgresql/demoted"
# More would have to be sent while nobody writes: a second or so.
MOST_BEHIND = 64 * 1024 * 1024
_BEHIND = "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn) FROM pg_stat_replication WHERE application_name = 'standby'"


def ask(stack: ComposeStack, node: str, query: str) -> str:
    """Return what a node answers, "" when it does not."""
    command = ["env", "PGCONNECT_TIMEOUT=5", "psql", "--no-psqlrc", "--username=kit", "--dbname=kit", "--no-align", "--tuples-only"]
    return stack.exec(node, [*command, "--command", query]).stdout.strip()


def primary(stack: ComposeStack) -> str:
    """Return the service that takes writes; StackError when none does."""
    running = {unit.service for unit in stack.processes()}.intersection(NODES)
    if not running:
        raise StackError(f"the database of {stack.name} does not run", hint="run make up")
    for node in NODES:
        if node in running and (running == {"database"} or ask(stack, node, "SELECT pg_is_in_recovery()") == "f"):
            return node
    raise StackError(f"no database of {stack.name} is the primary", hint="make failover makes one of a replica that runs")


class Failover:
    """What `make failover` is about to do. Raises StackError, with nothing touched, when it cannot be done."""

    def __init__(self, stack: ComposeStack) -> None:
        self._stack = stack
        if "replica" not in stack.compose("config", "--services").stdout.split():
            raise StackError(f"{stack.name} has no replica", hint="lay compose/replica.yaml over the stack", exit_code=2)
        running = [node for node in NODES if any(unit.service == node for unit in stack.processes())]
        roles = {node: ask(stack, node, "SELECT pg_is_in_recovery()") for node in running}
        if len(replicas := [node for node in running if roles[node] == "t"]) != 1:
            said = ", ".join(f"{node} {'is the primary' if roles[node] == 'f' else 'does not answer'}" for node in running) or "none runs"
            raise StackError(f"there is no replica to take over: {said}", hint="docker compose logs database replica")
        (self.new,) = replicas
        (self.old,) = {*NODES} - {self.new}
        self.planned = roles.get(self.old) == "f"
        if self.old in running and not self.planned:
            hint = f"stop it first, so that it takes no write later: docker compose kill {self.old}"
            raise StackError(f"{self.old} runs and does not answer", hint=hint)
        if self.planned:
            self._check_follows()

    def __str__(self) -> str:
        if self.planned or ask(self._stack, self.new, "SHOW synchronous_standby_names"):
            return f"{self.new} takes over from {self.old}, with all that was acknowledged"
        last = ask(self._stack, self.new, "SELECT coalesce(pg_last_xact_replay_timestamp()::text, 'its start')")
        return f"{self.new} takes over, with what was committed until {last}; what {self.old} acknowledged after that is lost"

    def run(self, say: Callable[[str], None]) -> None:
        """Do it; a planned one that cannot be finished is undone."""
        began_s = monotonic()
        self._stack.require(f"{self.old} does not stop", "stop", "--timeout", "20", self.old)
        # First of all, and on its own volume: whatever happens next, it takes no write before it has followed the other one.
        ended = self._once(f"touch {_DEMOTED} || exit 9; pg_controldata || true")
        if ended.returncode and not self.planned:
            say(f"the volume of {self.old} cannot be written: let it start only where it reaches {self.new}, which it asks first")
        try:
            if self.planned:
                self._check_complete(ended.stdout)
            self._promote()
        except StackError:
            if self.planned:
                self._once(f"rm -f {_DEMOTED}")
                self._stack.compose("start", self.old)
            raise
        say(f"{self.new} is the primary, {monotonic() - began_s:.1f} s after this began")
        self._stack.require(f"{self.old} does not start", "up", "--detach", "--no-deps", "--no-build", "--no-recreate", self.old)
        wait_until(self._follows, READY_TIMEOUT_S, f"{self.old} does not follow: docker compose logs {self.old}")
        say(f"{self.old} follows it")

    def _promote(self) -> None:
        if ask(self._stack, self.new, "SELECT pg_promote()") != "t":
            raise StackError(f"{self.new} was not promoted", hint=f"docker compose logs {self.new}")

    def _once(self, script: str) -> CompletedProcess[str]:
        """Run a command on the volume of the old primary, which does not run."""
        return self._stack.compose("run", "--rm", "--no-deps", "--no-TTY", "--entrypoint", "sh", self.old, "-c", script)

    def _follows(self) -> bool:
        return bool(ask(self._stack, self.new, _BEHIND))

    def _check_follows(self) -> None:
        behind = ask(self._stack, self.old, _BEHIND)
        if not behind:
            hint = f"docker compose logs {self.new}; a new copy: docs/database.md"
            raise StackError(f"{self.new} does not follow {self.old}", hint=hint)
        if int(behind) > MOST_BEHIND:
            raise StackError(f"{self.new} is {int(behind) // 2**20} MB behind {self.old}", hint="try again when it has caught up")

    def _check_complete(self, control: str) -> None:
        """Raise unless the replica has the last that the old primary wrote."""
        state = dict(re.findall(r"^(Database cluster state|Latest checkpoint location): +(.*)$", control, re.MULTILINE))
        last = state.get("Latest checkpoint location", "")
        has_it = ask(self._stack, self.new, f"SELECT pg_last_wal_receive_lsn() > '{last}'") == "t"
        if state.get("Database cluster state") != "shut down" or not has_it:
            raise StackError(f"{self.new} has not got all of {self.old}, which is the primary again", hint="try again")
