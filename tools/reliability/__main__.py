"""`python -m tools.reliability chaos | releases | soak | overload | report`: the command line, which reads options and prints."""

import os
import shlex
import signal
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import click

from loadtest.measure.machine import fingerprint
from loadtest.records.store import RunError
from tools.reliability import report
from tools.reliability.judge.figures import EventFigures
from tools.reliability.measure import events, overload
from tools.reliability.measure.event import Event
from tools.reliability.measure.faults import FAULTS, MIX as FAULT_MIX
from tools.reliability.measure.releases import MIX as RELEASE_MIX, SOAK_MIX, releases as releases_of, soak
from tools.reliability.measure.stacks import Options
from tools.reliability.records import Observation, Records
from tools.reliability.report.words import said
from tools.stack import REPOSITORY, StackError
from tools.stack.base import other_servers

RESULTS = Path(__file__).resolve().parent / "results"
CLASSES = ("sync", "gthread", "gevent", "tornado")
SERVERS = [name for name in other_servers(REPOSITORY) if name != "bare"]  # there is no site to write to
GUNICORNS = {"bad-start", "hup", "recycling"}  # what is done there is gunicorn's
NAMES = list(releases_of(1, 2, 1))
MOST_IN_FLIGHT = 100_000
KINDS = ("faults", "releases", "overload", "soak")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Show under load what faults and releases cost."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # clear up after `kill` as after Ctrl-C


def _options(
    *, rate_per_s: float, fewest: int, classes: tuple[str, ...] = CLASSES[:3], rate: str = "Requests per second."
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """The options that all commands have."""
    options = (
        click.option("--class", "classes", multiple=True, type=click.Choice([*CLASSES, *SERVERS]), default=classes, show_default=True),
        click.option("--rate", "rate_per_s", default=rate_per_s, show_default=True, type=click.FloatRange(1, 5000), help=rate),
        click.option("--replicas", default=3, show_default=True, type=click.IntRange(fewest, 20), help="App containers."),
        click.option("--waf", default="On", show_default=True, type=click.Choice(["On", "Off"]), help="The firewall."),
        click.option("--max-in-flight", default=128, show_default=True, type=click.IntRange(0, MOST_IN_FLIGHT), help="0: no bound."),
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
def chaos(*, names: tuple[str, ...], out: Path | None, only_plan: bool, **asked: Any) -> None:
    """Inject one fault after the other into a stack of its own, and draw what happened."""
    if asked["waf"] == "Off" and "kill-waf" in names:
        click.echo("kill-waf is left out: with --waf Off there is none.")
        names = tuple(name for name in names if name != "kill-waf")
    _events(_asked("faults", [FAULTS[name] for name in names], FAULT_MIX, **asked), out, only_plan=only_plan)


@main.command()
@click.option("--release", "names", multiple=True, type=click.Choice(NAMES), default=NAMES, help="Default: all of them.")
@click.option("--rounds", default=5, show_default=True, type=click.IntRange(1, 100), help="Rollouts in a row.")
@_options(rate_per_s=200.0, fewest=2)
def releases(*, names: tuple[str, ...], rounds: int, out: Path | None, only_plan: bool, **asked: Any) -> None:
    """Release in every way under load. Exit code 1 when a request failed that should not, or a write was lost or doubled."""
    if (others := {*SERVERS} & {*asked["classes"]}) and (gunicorns := GUNICORNS & {*names}):
        raise click.UsageError(f"--class {min(others)}: only gunicorn has {', '.join(sorted(gunicorns))}; name others with --release")
    listed = releases_of(rounds, asked["replicas"], asked["rate_per_s"])
    _events(_asked("releases", [listed[name] for name in names], RELEASE_MIX, **asked), out, only_plan=only_plan)


@main.command(name="soak")
@click.option("--minutes", default=20, show_default=True, type=click.IntRange(1, 1440), help="How long, for each worker class.")
@_options(rate_per_s=15.0, fewest=2, classes=CLASSES[1:2], rate="Visitors per second; one sends 1.7 requests.")
def soak_(*, minutes: int, out: Path | None, only_plan: bool, **asked: Any) -> None:
    """Visit for a long time, with workers recycled and a rollout every minute. Exit code 1 when something grew, failed or was left."""
    if os.geteuid() and not only_plan:
        raise click.UsageError("only root may see what the processes of a container have open; run this as root")
    _events(_asked("soak", [soak(minutes, asked["rate_per_s"])], SOAK_MIX, **asked), out, only_plan=only_plan)


@main.command(name="overload")
@click.option("--factor", default=3.0, show_default=True, type=click.FloatRange(1, 20), help="How many times the peak is asked for.")
@click.option("--seconds", default=60.0, show_default=True, type=click.FloatRange(5, 600), help="For how long.")
@_options(rate_per_s=40.0, fewest=1, rate="Requests per second with which the search for the peak begins.")
def overload_(*, factor: float, seconds: float, out: Path | None, only_plan: bool, **asked: Any) -> None:
    """Find the most that a stack answers in time, and ask for three times as much."""
    options = _asked("overload", [], FAULT_MIX, "the last of them for the load generator alone, where there are two", **asked)
    what = f"overload: {factor:g} times the peak for {seconds:g} s, worker classes: {len(options.classes)}"
    run = None if only_plan else partial(overload.run, options, factor, seconds)
    _carry_out(options, what, overload.lasts_s(options, seconds), out, run)


def _asked(
    kind: str, happens: list[Event], mix: dict[str, float], generator: str = "shared with the load generator", **asked: Any
) -> Options:
    seen = fingerprint("compose")
    machine = f"{seen.cpus} cores of {seen.cpu_model}, {generator}; load average {os.getloadavg()[0]:.1f} before; commit {seen.git_commit}"
    command = shlex.join(["python", "-m", "tools.reliability", *sys.argv[1:]])
    asked["max_in_flight"] = str(asked["max_in_flight"])
    return Options(kind, happens, mix, command, machine, **asked)


def _events(options: Options, out: Path | None, *, only_plan: bool) -> None:
    what = f"{options.kind}: {len(options.events)}, worker classes: {len(options.classes)}, {options.rate_per_s:g} requests/s"
    _carry_out(options, what, events.lasts_s(options), out, None if only_plan else partial(events.run, options))


def _carry_out(options: Options, what: str, lasts_s: float, out: Path | None, run: Callable[..., Iterator[Observation]] | None) -> None:
    """Say how long it takes; with `run`, measure into a folder, write the report, and say which promises were not kept."""
    click.echo(f"{what}: about {lasts_s / 60:.0f} minutes.")
    if run is None:
        return
    folder = out or RESULTS / datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    records = Records(folder, options.kind)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        records.read()  # what cannot be read is said before anything is started
        for record in run(click.echo):
            records.save(record)
            click.echo(f"    {said(EventFigures(record))}")
        judged = [EventFigures(record) for record in records.read()]
    except (OSError, RunError) as error:
        raise click.BadParameter(f"{error}; give a folder that is empty or holds a run", param_hint="--out") from None
    except StackError as error:
        click.echo(f"reliability: {error.message}{f'; {error.hint}' if error.hint else ''}\n{error.details}", err=True)
        sys.exit(error.exit_code)
    for path in report.write(options.kind, judged, folder):
        click.echo(path)
    if broken := [f"{one.record.worker_class}, {one.record.title}: {said(one)}" for one in judged if not one.kept]:
        click.echo("\n".join(["reliability: not as promised:", *broken]), err=True)
        sys.exit(1)


@main.command(name="report")
@click.argument("kind", type=click.Choice(KINDS))
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
def report_(kind: str, folder: Path) -> None:
    """Judge a run again, from its files, and draw its report."""
    for path in report.write(kind, [EventFigures(record) for record in Records(folder, kind).read()], folder):
        click.echo(path)


if __name__ == "__main__":
    main()
