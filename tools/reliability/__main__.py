"""`python -m tools.reliability chaos`, `... releases`, `... soak`: the command line. It reads wishes and prints; the work is elsewhere."""

from __future__ import annotations

import json
import os
import shlex
import signal
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import click

from loadtest.machine import fingerprint
from tools.reliability import observe, overload, report, soak, soak_report
from tools.reliability.event import Event
from tools.reliability.faults import FAULTS, MIX as FAULT_MIX
from tools.reliability.observe import Record
from tools.reliability.releases import MIX as RELEASE_MIX, releases as releases_of
from tools.stack import StackError

RESULTS = Path(__file__).resolve().parent / "results"
CLASSES = ("sync", "gthread", "gevent", "tornado")
NAMES = list(releases_of(1, 2, 1))
# What nginx/render takes for MAX_IN_WORK.
FEWEST_IN_WORK, MOST_IN_WORK = 6, 100000


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Show under load what faults and releases cost."""
    signal.signal(signal.SIGTERM, _end)


def _end(_signal: int, _frame: object) -> NoReturn:
    """Clear up after `kill` as after Ctrl-C."""
    raise KeyboardInterrupt


def _bound(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    if value == "off" or (value.isascii() and value.isdigit() and value[0] != "0" and FEWEST_IN_WORK <= int(value) <= MOST_IN_WORK):
        return value
    raise click.BadParameter(f"{value}: neither off nor a whole number from {FEWEST_IN_WORK} to {MOST_IN_WORK}")


def _options(
    *, rate_per_s: float, fewest: int, classes: tuple[str, ...] = CLASSES[:3], rate: str = "Requests per second."
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """The options that all commands have."""
    options = (
        click.option("--class", "classes", multiple=True, type=click.Choice(CLASSES), default=classes, show_default=True),
        click.option("--rate", "rate_per_s", default=rate_per_s, show_default=True, type=click.FloatRange(1, 5000), help=rate),
        click.option("--replicas", default=3, show_default=True, type=click.IntRange(fewest, 20), help="App containers."),
        click.option("--waf", default="On", show_default=True, type=click.Choice(["On", "Off"]), help="The firewall."),
        click.option("--max-in-work", default="128", show_default=True, callback=_bound, help="MAX_IN_WORK of the stack; off: no bound."),
        click.option("--build/--no-build", default=True, show_default=True, help="Build the images, or take those that are there."),
        click.option(
            "--out",
            type=click.Path(file_okay=False, path_type=Path),
            help="Folder of the run; one that holds a run is added to. Default: a new one in tools/reliability/results.",
        ),
        click.option("--plan", "only_plan", is_flag=True, help="Say how long it takes, and stop."),
    )

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


@main.command()
@click.option("--fault", "names", multiple=True, type=click.Choice(list(FAULTS)), default=list(FAULTS), help="Default: all of them.")
@_options(rate_per_s=200.0, fewest=1)
def chaos(*, names: tuple[str, ...], out: Path | None, only_plan: bool, **wishes: Any) -> None:
    """Inject one fault after the other into a stack of its own, and draw what happened."""
    _carry_out("faults", [FAULTS[name] for name in names], FAULT_MIX, out, only_plan=only_plan, **wishes)


@main.command()
@click.option("--release", "names", multiple=True, type=click.Choice(NAMES), default=NAMES, help="Default: all of them.")
@click.option("--rounds", default=5, show_default=True, type=click.IntRange(1, 100), help="Rollouts in a row.")
@_options(rate_per_s=100.0, fewest=2)
def releases(*, names: tuple[str, ...], rounds: int, out: Path | None, only_plan: bool, **wishes: Any) -> None:
    """Release in every way under load. Exit code 1 when a request failed that should not, or a write was lost or doubled."""
    listed = releases_of(rounds, wishes["replicas"], wishes["rate_per_s"])
    _carry_out("releases", [listed[name] for name in names], RELEASE_MIX, out, only_plan=only_plan, **wishes)


@main.command(name="soak")
@click.option("--minutes", default=20.0, show_default=True, type=click.FloatRange(0.5, 1440), help="How long, for each worker class.")
@_options(rate_per_s=15.0, fewest=2, classes=CLASSES[1:2], rate="Visitors per second; one sends 1.7 requests.")
def soak_(*, minutes: float, out: Path | None, only_plan: bool, **wishes: Any) -> None:
    """Visit for a long time, with workers recycled and a rollout every minute. Exit code 1 when something grew, failed or was left."""
    wish = observe.Wish("soak", [], soak.MIX, _command(), **wishes)
    what = f"soak: {minutes:g} minutes, worker classes: {len(wish.classes)}, {wish.rate_per_s:g} visitors/s"
    _announce(what, soak.lasts_s(wish, minutes))
    if not only_plan:
        _measure(out, lambda folder: soak.run(wish, minutes, folder, _machine(), click.echo), soak_report.write, soak.broken)


@main.command(name="overload")
@click.option("--factor", default=3.0, show_default=True, type=click.FloatRange(1, 20), help="How many times the peak is asked for.")
@click.option("--seconds", "lasts_s", default=60.0, show_default=True, type=click.FloatRange(5, 600), help="For how long.")
@_options(rate_per_s=40.0, fewest=1, rate="Requests per second with which the search for the peak begins.")
def overload_(*, factor: float, lasts_s: float, out: Path | None, only_plan: bool, **wishes: Any) -> None:
    """Find the most that a stack answers in time, and ask for three times as much. Exit code 1 when less than 80 % of it was left."""
    wish = observe.Wish("overload", [], FAULT_MIX, _command(), **wishes)
    excess = overload.Excess(factor, lasts_s)
    what = f"overload: {factor:g} times the peak for {lasts_s:g} s, worker classes: {len(wish.classes)}"
    _announce(what, overload.lasts_s(wish, excess))
    if not only_plan:
        machine = _machine("the last of them for the load generator alone, where there are two")
        _measure(out, lambda folder: overload.run(wish, excess, folder, machine, click.echo), overload.write, overload.broken)


def _command() -> str:
    return shlex.join(["python", "-m", "tools.reliability", *sys.argv[1:]])


def _carry_out(kind: str, events: list[Event], mix: dict[str, float], out: Path | None, *, only_plan: bool, **wishes: Any) -> None:
    wish = observe.Wish(kind, events, mix, _command(), **wishes)
    what = f"{kind}: {len(events)}, worker classes: {len(wish.classes)}, {wish.rate_per_s:g} requests/s"
    _announce(what, wish.lasts_s)
    if not only_plan:
        _measure(out, lambda folder: observe.run(wish, folder, _machine(), click.echo), partial(report.write, kind), observe.broken)


def _announce(what: str, lasts_s: float) -> None:
    click.echo(f"{what}: about {lasts_s / 60:.0f} minutes.")


def _measure(
    out: Path | None,
    run: Callable[[Path], list[Record]],
    write: Callable[[list[Record], Path], list[Path]],
    broken: Callable[[list[Record]], list[str]],
) -> None:
    """Measure into a folder, write the report, and say which promises were not kept."""
    folder = out or RESULTS / datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        records = run(folder)
    except (OSError, json.JSONDecodeError) as error:
        raise click.BadParameter(f"{folder}: {error}; give a folder that is empty or holds a run", param_hint="--out") from None
    except StackError as error:
        click.echo(f"reliability: {error.message}{f'; {error.hint}' if error.hint else ''}\n{error.details}", err=True)
        sys.exit(error.exit_code)
    finally:
        for left in folder.glob("load-*.json"):
            left.unlink()
    for path in write(records, folder):
        click.echo(path)
    if lines := broken(records):
        click.echo("\n".join(["reliability: not as promised:", *lines]), err=True)
        sys.exit(1)


def _machine(generator: str = "shared with the load generator") -> str:
    seen = fingerprint("compose", {})
    return f"{seen.cpus} cores of {seen.cpu_model}, {generator}; load average {os.getloadavg()[0]:.1f} before; commit {seen.git_commit}"


if __name__ == "__main__":
    main()
