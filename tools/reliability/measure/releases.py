"""The releases: each way in which containers or workers are replaced on purpose, and what a user must expect of it."""

import subprocess
import time

from tools.reliability.measure.event import Act, Event
from tools.reliability.measure.load import Load
from tools.stack import StackError, open_stack
from tools.stack.base import last_lines
from tools.stack.compose import ComposeStack, docker
from tools.stack.rollout import Rollout, Wish, previous_of, roll_gateway
from tools.stack.rotation import reload_workers, workers

# Half of the requests are POST: what must not be repeated.
MIX = {"reader": 1.0, "writer": 1.0}
# Of the soak: a browser's visit of three requests, a read and a write of the API, in equal parts.
SOAK_MIX = {"guest": 1.0, "reader": 1.0, "writer": 1.0}
SOAK_REQUESTS = 5 / 3  # of one visitor
MINUTE_S = 60.0
# For how long workers are recycled, and how long a worker lives meanwhile, more or less half. At a rate of requests that is worth a run
# a shorter life would be a machine that starts workers most of the time: an application may take each a second of a processor.
RECYCLING_S = 40.0
WORKER_LIVES_S = 20.0
# For a new container of a bad release to become healthy, which it does not.
BAD_READY_S = 20.0
BAD_START, BAD_HEALTH = "PRELOAD_LIBRARIES=no_such_library", "PROBE_TIMEOUT=soon"
# About what one container takes in a rollout, on a machine that is busy with the load.
STEP_S = 9.0
AFTER_S = 4.0
NO_MORE_THAN_S = 60.0


def version(stack: ComposeStack, setting: str) -> str:
    """Make another version of the app's image, with one more environment variable; return its name."""
    name = f"{stack.image('app')}-{setting.partition('=')[0].lower().replace('_', '-')}"
    recipe = f"FROM {stack.image('app')}\nENV {setting}\n"
    answer = subprocess.run(
        ["docker", "build", "--quiet", "--tag", name, "-"], input=recipe, capture_output=True, text=True, env=stack.settings, check=False
    )
    if answer.returncode:
        raise StackError(f"the image {name} cannot be made", details=last_lines(answer.stderr))
    return name


def forget_versions(stack: ComposeStack) -> None:
    """Remove the names of the images that the releases of this stack have made."""
    either = ("--filter", f"reference={stack.image('app')}-*", "--filter", f"reference={previous_of(stack)}")
    if names := docker("image", "ls", "--format", "{{.Repository}}:{{.Tag}}", *either).split():
        docker("image", "rm", *names)


def _silent(_line: str) -> None:
    """Drop what a rollout says: progress is told by event."""


def _roll(rounds: int, every_s: float = 0.0) -> Act:
    def act(stack: ComposeStack) -> None:
        present = docker("inspect", "--format", "{{.Image}}", stack.units("app")[0].id)
        for number in range(rounds):
            next_s = time.monotonic() + every_s
            Rollout(stack, Wish(image=present if number % 2 else version(stack, "RELEASE=2")), _silent).run()
            time.sleep(max(next_s - time.monotonic(), 0))

    return act


def _roll_back(stack: ComposeStack) -> None:
    Rollout(stack, Wish(image=previous_of(stack), migrate=False), _silent).run()


def _bad(setting: str) -> Act:
    def act(stack: ComposeStack) -> None:
        try:
            Rollout(stack, Wish(image=version(stack, setting), ready_s=BAD_READY_S, migrate=False), _silent).run()
        except StackError as error:
            if "the old version went on serving" not in error.hint:
                raise
        else:
            raise StackError(f"a release with {setting} was not taken back")

    return act


def _reload(stack: ComposeStack) -> None:
    """SIGHUP to one app container after the other, each when every worker of the one before has been replaced."""
    for unit in stack.units("app"):
        reload_workers([unit.id])


def recycle(stack: ComposeStack, rate_per_s: float) -> None:
    """Have each worker replaced after about WORKER_LIVES_S of so many requests a second."""
    count = sum(len(workers(unit.id)) for unit in stack.units("app"))
    # gunicorn adds up to the jitter to its number.
    fewest = max(round(rate_per_s * WORKER_LIVES_S / count / 2), 10)
    stack.restart("app", {"GUNICORN_CMD_ARGS": f"--max-requests {fewest} --max-requests-jitter {2 * fewest}"})


def _without_recycling(stack: ComposeStack) -> None:
    stack.restart("app", {})


def _has_recycled(stack: ComposeStack) -> None:
    if "Autorestarting worker" not in stack.logs("app"):
        raise StackError(f"no worker was recycled in {RECYCLING_S:g} s", hint="ask for a higher --rate")


def _up_and_down(stack: ComposeStack) -> None:
    count = int(stack.setting("APP_REPLICAS"))
    Rollout(stack, Wish(), _silent).scale(2 * count)
    Rollout(stack, Wish(), _silent).scale(count - 1)


def _scale_back(stack: ComposeStack) -> None:
    stack.scale("app", int(stack.setting("APP_REPLICAS")))


def _roll_gateway(stack: ComposeStack) -> None:
    """With one setting changed: an image that is the same would not be released."""
    changed = open_stack("compose", name=stack.name, env={**stack.settings, "NGINX_WORKER_CONNECTIONS": "4000"}, root=stack.root)
    assert isinstance(changed, ComposeStack)  # noqa: S101 - it was asked for
    roll_gateway(changed, ready_s=NO_MORE_THAN_S, say=_silent)


def releases(rounds: int, count: int, rate_per_s: float) -> dict[str, Event]:
    """Return all releases by name; `rounds` rollouts in a row, with `count` app containers, under so many requests a second."""
    none, nothing, step_s = "no request", lambda _: None, STEP_S * count
    recycling: Act = lambda stack: recycle(stack, rate_per_s)  # noqa: E731
    recycled = f"Workers recycled after {WORKER_LIVES_S:g} s of requests, more or less half (max_requests)"
    listed = (
        Event("nothing", "Nothing at all", none, nothing, nothing, 5, AFTER_S, True),
        Event("rollout", f"{rounds} rollouts in a row", none, _roll(rounds), None, rounds * step_s, AFTER_S, True),
        Event("rollback", "A rollback", none, _roll_back, None, step_s, AFTER_S, True),
        Event("bad-start", "A release that does not start, taken back", none, _bad(BAD_START), None, 10, AFTER_S, True),
        Event("bad-health", "A release that is not healthy, taken back", none, _bad(BAD_HEALTH), None, 10 + BAD_READY_S, AFTER_S, True),
        Event("hup", "SIGHUP to one container after the other", none, _reload, None, 15, AFTER_S, True),
        Event("recycling", recycled, none, nothing, _has_recycled, RECYCLING_S, AFTER_S, True, recycling, _without_recycling),
        Event("scale", f"Scaled {count} → {2 * count} → {count - 1}", none, _up_and_down, None, 40, AFTER_S, True, None, _scale_back),
        Event(
            "compose-up",
            "docker compose up recreates all app containers",
            "requests between old and new",
            _without_recycling,
            None,
            10,
            AFTER_S,
        ),
        Event(
            "gateway",
            "make rollout ARGS=gateway",
            "requests until the new one listens",
            _roll_gateway,
            None,
            10,
            AFTER_S,
            moves_gateway=True,
        ),
    )
    return {event.name: event for event in listed}


def soak(minutes: int, rate_per_s: float) -> Event:
    """Return visitors for a long time, so many a second, while workers are recycled, with a rollout every minute."""

    def prepare(stack: ComposeStack) -> None:
        recycle(stack, rate_per_s * SOAK_REQUESTS)
        with Load(stack.url, rate_per_s=rate_per_s, mix=SOAK_MIX):  # opens what is opened once: tables, caches, pools
            _roll(2)(stack)

    title = f"{minutes} min of visitors, workers recycled, a rollout every minute"
    return Event(
        "soak", title, "no request", _roll(minutes, MINUTE_S), None, minutes * MINUTE_S, promised=True, prepare=prepare, watched=True
    )
