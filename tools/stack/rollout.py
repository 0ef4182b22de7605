"""Replace the app's containers by those of another image, one after the other, without a gap.

For each step: new containers beside the old ones, until they are healthy and nginx has sent requests to them; only then is an
old one stopped, and it drains (gunicorn_hooks/drain.py). A release that does not get that far is taken back: what
was not replaced yet never stopped serving.
"""

import fcntl
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import click

from tools.stack.base import StackError, Unit, last_lines
from tools.stack.compose import ComposeStack, addresses, docker, trial
from tools.stack.waiting import alive_path, answers_ok, wait_until

LOG_LINES = 15
# Between two questions to the engine. Each takes some 50 ms of a processor: asking all the time would take half of one from the visitors.
ASK_S = 0.5
# nginx asks DNS every 2 s. Much longer means that it does not ask at all; and each one more needs a request of its own.
KNOWN_S, KNOWN_EACH_S = 30.0, 1.0
# While it starts, a container has only the processors that the serving ones leave (1024 is an ordinary share): to import an application
# takes half a second of one or more, in which a busy site would have to refuse visitors.
STARTING_SHARES = "64"
# States of a container that serves nobody; one that ends again and again is what a release may be there to mend.
ENDED = {"created", "exited", "dead", "restarting"}
# For a container of the old version to be healthy again: there is nothing to fall back to after that.
PATIENCE_S = 120.0


@dataclass(frozen=True, slots=True)
class Wish:
    """What was asked for. `image`: name or id, "" for the one to build; `ready_s`: until a new container is healthy."""

    image: str = ""
    at_once: int = 1
    ready_s: float = 60.0
    migrate: bool = True


class Rollout:
    """A release of the app in one Compose stack that runs. Raises StackError after it has taken the release back."""

    def __init__(self, stack: ComposeStack, wish: Wish, say: Callable[[str], None] = click.echo) -> None:
        self._stack = stack
        self._wish = wish
        self._say = say
        # The name under which the Compose file knows the app's image: the release is what this name points to.
        self._tag = stack.image("app")
        self._serving: list[Unit] = []  # new ones that have replaced an old one
        self._look()
        if wish.image:
            _image_id(wish.image)

    def _look(self) -> None:
        """Take what runs now for the old version."""
        self._old = _containers(self._stack, "app")
        if not self._old:
            raise StackError(f"{self._stack.name} has no app container that runs", hint="run make up first")
        self._old_image = _inspect(self._old[0].id, "{{.Image}}")

    def plan(self) -> list[str]:
        count, at_once = len(self._old), min(self._wish.at_once, len(self._old))
        return [
            f"image: {self._wish.image or f'built anew as {self._tag}'}; the present one is kept as {previous_of(self._stack)}",
            "database: flask db upgrade, from the new image" if self._wish.migrate else "database: left as it is",
            f"{count} containers, {at_once} at a time: start a new one, wait until it is healthy (at most {self._wish.ready_s:g} s)",
            f"  and nginx sends it requests (at most {KNOWN_S:g} s), then stop an old one, which finishes what it has",
            "a new container that does not get ready: all of them are removed, and the old ones go on",
        ]

    def run(self) -> None:
        with self._alone_looking_again():
            new_image = self._new_image()
            docker("tag", self._old_image, previous_of(self._stack))
            docker("tag", new_image, self._tag)
            try:
                self._migrate()
                self._replace(self._old)
            except BaseException as error:
                self._take_back()
                if isinstance(error, StackError):
                    error.hint = "the release was taken back; the old version went on serving"
                raise
        self._say(f"Released {new_image.removeprefix('sha256:')[:12]}; `make rollback` goes back to {previous_of(self._stack)}.")

    def scale(self, count: int) -> None:
        """Run `count` containers, of the image that runs. New ones that do not get ready are removed again.

        One after the other, as a release starts them: three that start together take the processors from those that serve.
        """
        with self._alone_looking_again():
            missing, surplus = count - len(self._old), sorted(self._old, key=lambda unit: _inspect(unit.id, "{{.Created}}"))[count:]
            # What was built since, and never released, is not for this command to start.
            built = _image_id(self._tag)
            docker("tag", self._old_image, self._tag)
            try:
                for _ in range(missing):
                    self._say(f"Healthy and known to nginx: {_names(self._start(1))}.")
            except BaseException as error:
                _remove(self._others(self._old))
                if isinstance(error, StackError):
                    error.hint = "the new containers were removed; the others went on serving"
                raise
            finally:
                docker("tag", built, self._tag)
            if surplus:
                self._say(f"Draining {_names(surplus)} ...")
                _remove(surplus)

    @contextmanager
    def _alone_looking_again(self) -> Iterator[None]:
        """Hold the lock, and look again: until it was held another rollout may have replaced what was seen.

        A container that has ended, by itself or because a release was interrupted between stop and remove, would be counted by Compose.
        """
        with _alone(self._stack):
            self._look()
            ended = [unit for unit in self._others(self._old) if _inspect(unit.id, "{{.State.Status}}") in ENDED]
            if ended:
                self._say(f"Removing {_names(ended)}, which had ended before.")
                _remove(ended)
            yield

    def _new_image(self) -> str:
        if not self._wish.image:
            self._say(f"Building {self._tag} ...")
            # When that fails the tag still points to what runs.
            self._stack.require("the image cannot be built; nothing was changed", "build", "app")
        return _image_id(self._wish.image or self._tag)

    def _migrate(self) -> None:
        if not self._wish.migrate:
            return
        self._say("Migrating the database (it must suit the old version as well: expand now, contract in a later release) ...")
        self._stack.require("the migration failed", "run", "--rm", "--no-deps", "--no-TTY", "migrate")

    def _replace(self, leaving: Sequence[Unit]) -> None:
        """Put new containers of the present image in the place of `leaving`."""
        left = list(leaving)
        while left:
            step, left = left[: self._wish.at_once], left[self._wish.at_once :]
            fresh = self._start(len(step))
            self._say(f"Healthy and known to nginx: {_names(fresh)}. Draining {_names(step)} ...")
            # From here on, whoever interrupts: the engine goes on stopping the one, so the other must stay until it is replaced.
            self._serving += fresh
            self._old = [unit for unit in self._old if unit not in step]
            began = time.monotonic()
            _remove(step)
            self._say(f"  gone after {time.monotonic() - began:.1f} s")

    def _start(self, count: int) -> list[Unit]:
        """Start so many more containers; return them when they are ready and nginx sends them requests."""
        self._say(f"Starting {count} beside {len(_containers(self._stack, 'app'))} ...")
        fresh = _create(self._stack, "app", count)
        shares = _step_back(fresh)
        policy = _start_once(fresh)
        self._until(lambda: all(_is_healthy(unit) for unit in fresh), fresh, self._wish.ready_s, "healthy")
        _each("update", fresh, "--restart", policy, *shares)
        since = datetime.now(UTC).isoformat()
        # Asked for once: `docker compose` says it, and the probes are many.
        url, gateways = self._stack.url + alive_path(self._stack.settings), _containers(self._stack, "gateway")
        self._until(lambda: self._known(fresh, gateways, since, url), fresh, KNOWN_S + count * KNOWN_EACH_S, "known to nginx")
        return fresh

    def _until(self, condition: Callable[[], bool], units: Sequence[Unit], timeout_s: float, what: str) -> None:
        try:
            wait_until(condition, timeout_s, f"the new containers are not {what}", poll_s=ASK_S)
        except StackError as error:
            raise StackError(error.message, details="\n".join(_last_words(unit) for unit in units)) from None

    def _known(self, units: Sequence[Unit], gateways: Sequence[Unit], since: str, url: str) -> bool:
        """Ask once through the gateway; say whether its log shows a request to each of the containers since then."""
        answers_ok(url, self._stack.settings)
        log = "".join(docker("logs", "--since", since, unit.id) for unit in gateways)
        return all(any(f'"{address}:' in log or f" {address}:" in log for address in addresses(unit.id)) for unit in units)

    def _take_back(self) -> None:
        """Leave as many containers of the old image as there were."""
        self._say("Taking it back ...")
        docker("tag", self._old_image, self._tag)
        # Stopped first: nginx may have sent it requests, which it finishes when it can.
        _remove(self._others([*self._old, *self._serving]))
        # What has replaced an old one serves until its successor of the old image does. That one has been healthy before.
        self._wish = replace(self._wish, ready_s=max(self._wish.ready_s, PATIENCE_S))
        try:
            self._replace(list(self._serving))
        except StackError as error:
            error.hint = "the release could not be taken back completely: `make status`, then `make rollback`"
            raise

    def _others(self, known: Sequence[Unit]) -> list[Unit]:
        """Every container of the app but these, those that have ended too."""
        ids = {unit.id for unit in known}
        return [unit for unit in self._stack.units("app") if unit.id not in ids]


def roll_gateway(stack: ComposeStack, *, ready_s: float, say: Callable[[str], None] = click.echo) -> None:
    """Replace the gateway. It alone holds the published port, so between the old and the new one connections are refused."""
    tag = stack.image("gateway")
    with _alone(stack):
        old = _containers(stack, "gateway")
        if len(old) != 1:
            raise StackError(f"{stack.name} has {len(old)} gateways that run, not one", hint="run make up first")
        old_image, released = _inspect(old[0].id, "{{.Image}}"), _image_id(stack.image("app"))
        fresh: list[Unit] = []
        try:
            say(f"Building {tag} ...")
            stack.require("the image cannot be built", "build", "gateway")
            say("Checking the new configuration with the new nginx ...")
            stack.require("nginx does not accept it", *trial("gateway"))
            fresh = _create(stack, "gateway", 1)
            say("Stopping the old gateway, which finishes what it has, and starting the new one ...")
            began = time.monotonic()
            _each("stop", old)
            policy = _start_once(fresh)
            url = stack.url + alive_path(stack.settings)
            wait_until(lambda: _is_healthy(fresh[0]) or answers_ok(url, stack.settings), ready_s, "the new gateway does not answer")
        except BaseException as error:
            # The old container as it was: with the settings that it had, whatever .env says by now.
            details = "\n".join(_last_words(unit) for unit in fresh)
            docker("tag", old_image, tag)
            _each("rm", fresh, "--force")
            _each("start", old)
            if isinstance(error, StackError):
                error.hint, error.details = "the old gateway serves", error.details or details
            raise
        finally:
            # Compose builds the app's image on the way, for its static files. Nobody has released it; the next `docker compose up` would.
            docker("tag", released, stack.image("app"))
        _each("update", fresh, "--restart", policy)
        _each("rm", old)
        say(f"The new gateway answers, {time.monotonic() - began:.1f} s after the old one was told to stop.")


def previous_of(stack: ComposeStack) -> str:
    """Return the name that keeps the image that a rollout of this stack replaced."""
    tag = stack.image("app")
    repository, colon, version = tag.rpartition(":")
    return f"{repository if colon and '/' not in version else tag}:before-{stack.name}"


@contextmanager
def _alone(stack: ComposeStack) -> Iterator[None]:
    """Hold the lock of this stack's rollouts."""
    folder = Path(stack.root) / ".run"
    folder.mkdir(exist_ok=True)
    with (folder / f"{stack.name}.rollout").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StackError(f"another rollout of {stack.name} is on its way", hint="wait until it has ended") from None
        yield


def _create(stack: ComposeStack, service: str, count: int) -> list[Unit]:
    """Create so many more containers of a service, of the present image and settings, and do not start them yet."""
    before = {unit.id for unit in _containers(stack, service)}
    answer = stack.compose(
        *("up", "--no-start", "--no-recreate", "--no-deps", "--no-build", "--scale", f"{service}={len(before) + count}", service)
    )
    fresh = [unit for unit in stack.units(service) if unit.id not in before]
    if answer.returncode or len(fresh) != count:
        raise StackError("the new containers cannot be created", details=last_lines(answer.stderr))
    return fresh


def _containers(stack: ComposeStack, service: str) -> list[Unit]:
    return [unit for unit in stack.processes() if unit.service == service]


def _start_once(units: Sequence[Unit]) -> str:
    """Start containers that stay down when they end, and return the restart policy that they had.

    One that the engine starts again and again answers now and then, and goes: nginx waits 2 s for an address that has just gone.
    """
    name, most = _inspect(units[0].id, "{{.HostConfig.RestartPolicy.Name}} {{.HostConfig.RestartPolicy.MaximumRetryCount}}").split()
    _each("update", units, "--restart", "no")
    _each("start", units)
    return name if most == "0" else f"{name}:{most}"


def _step_back(units: Sequence[Unit]) -> list[str]:
    """Let what starts come after what serves; return what `docker update` needs to undo it.

    Nothing is done where the Compose file gives no cpu_shares: the engine has no way back to "none".
    """
    shares = _inspect(units[0].id, "{{.HostConfig.CpuShares}}")
    if shares == "0":
        return []
    _each("update", units, "--cpu-shares", STARTING_SHARES)
    return ["--cpu-shares", shares]


def _remove(units: Sequence[Unit]) -> None:
    """Stop containers, which finish what they have, and remove them."""
    _each("stop", units)
    _each("rm", units)


def _each(command: str, units: Sequence[Unit], *options: str) -> None:
    if units:
        docker(command, *options, *(unit.id for unit in units))


def _inspect(container: str, template: str) -> str:
    return docker("inspect", "--format", template, container)


def _image_id(name: str) -> str:
    try:
        return docker("image", "inspect", "--format", "{{.Id}}", name)
    except StackError:
        raise StackError(f"there is no image {name} on this machine", hint=f"docker pull {name}, or docker image ls", exit_code=2) from None


def _is_healthy(unit: Unit) -> bool:
    """Say whether a container is healthy; raise when it has ended, or the engine gave it up."""
    state = _inspect(unit.id, "{{.State.Status}} {{if .State.Health}}{{.State.Health.Status}}{{end}}").split()
    if state[0] not in {"created", "running"}:
        raise StackError("a new container ended by itself")
    if state[-1] == "unhealthy":
        raise StackError("a new container fails its health check")
    return state[-1] == "healthy"


def _names(units: Sequence[Unit]) -> str:
    return ", ".join(unit.id[:12] for unit in units)


def _last_words(unit: Unit) -> str:
    """What a container wrote last, and why its health check fails."""
    with suppress(StackError):
        answer = subprocess.run(["docker", "logs", "--tail", str(LOG_LINES), unit.id], capture_output=True, text=True, check=False)
        probe = _inspect(unit.id, "{{if .State.Health}}{{range .State.Health.Log}}{{.Output}}{{end}}{{end}}")
        return "\n".join(filter(None, [f"{unit.id[:12]}:", last_lines(answer.stdout + answer.stderr), last_lines(probe, 2)]))
    return f"{unit.id[:12]} is gone"
