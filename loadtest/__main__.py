"""`python -m loadtest run | report | diff`: the command line. It reads options and prints; the work is done elsewhere."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from loadtest.judge.answers import RunAnswers, answer_run
from loadtest.judge.difference import difference, obstacles
from loadtest.judge.steps import JudgedCell
from loadtest.measure.generation import GeneratorError, GeneratorProcess
from loadtest.measure.kit import KitServers, check_app
from loadtest.measure.machine import fingerprint
from loadtest.measure.runner import Progress, calibrate, run as run_plan
from loadtest.measure.servers import ServerError
from loadtest.measure.trial import Bench
from loadtest.options import RESULTS, manifest_of, question, runtime_of, settings_of
from loadtest.plan import PROFILES
from loadtest.records.model import Manifest
from loadtest.records.store import RunError, Store, require_empty
from loadtest.report import make_report, words

POSITIVE = click.FloatRange(min=0, min_open=True)
INTERRUPTED = 130


@click.group()
def main() -> None:
    """Compare servers under load, and say how sure the answer is."""


@contextmanager
def _plainly() -> Iterator[None]:
    """Turn what a user can act on into one line, a hint and an exit code."""
    try:
        yield
    except (RunError, ServerError) as error:
        click.echo(f"loadtest: {error.message}", err=True)
        if error.hint:
            click.echo(f"          {error.hint}", err=True)
        raise SystemExit(getattr(error, "exit_code", 1)) from None
    except GeneratorError as error:
        click.echo(f"loadtest: {error}", err=True)
        raise SystemExit(1) from None


def _names(_context: click.Context, _option: click.Parameter, text: str | None) -> tuple[str, ...]:
    return tuple(name.strip() for name in (text or "").split(",") if name.strip())


@main.command()
@click.option("--profile", type=click.Choice(list(PROFILES)), default="quick", show_default=True, help="How thorough.")
@click.option("--candidates", callback=_names, help="Which servers, by name: sync,uwsgi. Default: gunicorn's classes.")
@click.option("--workloads", callback=_names, help="Which workloads, by name. Default: those of the profile.")
@click.option("--slo", type=POSITIVE, help="Objective for the p99 in milliseconds, for all workloads.")
@click.option("--blocks", type=click.IntRange(min=1), help="How often everything is measured. Default: the profile's.")
@click.option("--seed", type=click.IntRange(min=0), help="The same seed gives the same order and the same arrivals.")
@click.option("--runtime", type=click.Choice(["auto", "compose", "local"]), default="auto", show_default=True)
@click.option("--app", help="Another application than the sample site: package.module:app.")
@click.option("--scenario", type=click.Path(path_type=Path), help="A locustfile of your own instead of the workloads.")
@click.option("--from-access-log", type=click.Path(path_type=Path), help="The gateway's access log: its GET requests are the workload.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the run. Default: a new one under loadtest/results.")
@click.option("--resume", type=click.Path(path_type=Path), help="Go on with the run in this folder; all else is remembered there.")
@click.option("--plan", "only_plan", is_flag=True, help="Say how long it will take and what it can see, and stop.")
def run(**options: Any) -> None:
    """Measure, judge and report."""
    signal.signal(signal.SIGTERM, _interrupt)
    with _plainly():
        if options["resume"]:
            _go_on(Store(options["resume"]))
            return
        candidates, workloads = question(options)
        if options["app"]:
            check_app(options["app"])
        servers = KitServers(runtime_of(options), settings_of(options))
        click.echo(f"Runtime: {servers.runtime}, because {servers.reason}.")
        manifest = manifest_of(options, candidates, workloads, servers)
        click.echo("\n".join(words.plan(manifest)))
        if not options["only_plan"]:
            _begin(options["out"] or RESULTS / manifest.run, manifest, servers)


def _begin(folder: Path, manifest: Manifest, servers: KitServers) -> None:
    require_empty(folder)
    with closing(servers), GeneratorProcess() as generator:
        calibration = calibrate(servers, manifest, generator, click.echo)
        store = Store.create(folder, replace(manifest, calibration=calibration))
        _measure(store, Bench(store.manifest(), servers, generator))


def _go_on(store: Store) -> None:
    manifest = store.manifest()
    store.cells()  # what cannot be read is said before anything is started
    here = fingerprint(manifest.machine.runtime)
    if (here.cpu_model, here.cpus) != (manifest.machine.cpu_model, manifest.machine.cpus):
        raise RunError(f"{store.folder} was begun on another machine ({manifest.machine.cpu_model})", "begin a new run here", 2)
    with closing(KitServers(manifest.machine.runtime, manifest.settings)) as servers, GeneratorProcess() as generator:
        _measure(store, Bench(manifest, servers, generator))


def _measure(store: Store, bench: Bench) -> None:
    """Run what is missing; whatever happens, what was measured is reported, and how to go on is said."""
    finished = False
    try:
        run_plan(bench, store, _show, _say_invalid)
        finished = True
    except KeyboardInterrupt:
        click.echo("\nInterrupted.", err=True)
        raise SystemExit(INTERRUPTED) from None
    finally:
        if store.cells():
            for path in make_report(store):
                click.echo(path)
        if not finished:
            click.echo(f"What was measured is kept. To go on: make loadtest RESUME={store.folder}", err=True)
    click.echo("\n".join(words.answers(_answers(store))))


def _answers(store: Store) -> RunAnswers:
    return answer_run(store.manifest(), store.cells())


def _say_invalid(one: JudgedCell, again: bool) -> None:  # noqa: FBT001 - called by the runner
    place = f"{one.cell.workload}, {one.cell.candidate}, {one.cell.kind}"
    click.echo(f"INVALID, {'measured again' if again else 'left out'}: {place}: {words.reasons(one.invalid)}")


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _show(progress: Progress) -> None:
    left = f"about {progress.left_s / 60:.0f} min left" if progress.left_s else "nothing left"
    click.echo(f"[{progress.done} of {progress.total}, {left}] {progress.doing}", err=True)


@main.command()
@click.argument("folder", type=click.Path(path_type=Path))
def report(folder: Path) -> None:
    """Draw the report of a run again, from its files."""
    with _plainly():
        for path in make_report(Store(folder)):
            click.echo(path)


@main.command()
@click.argument("first", type=click.Path(path_type=Path))
@click.argument("second", type=click.Path(path_type=Path))
def diff(first: Path, second: Path) -> None:
    """Compare two runs; exit code 1 when they contradict each other, 2 when they cannot be compared."""
    with _plainly():
        one, other = (_answers(Store(folder)) for folder in (first, second))
        reasons = obstacles(one.manifest, other.manifest)
        if reasons:
            raise RunError(f"these runs cannot be compared: {'; '.join(reasons)}", "measure both on one machine, with the same question", 2)
        found = difference(one, other)
    click.echo("\n".join(words.difference(found)))
    raise SystemExit(1 if found.contradictions else 0)


if __name__ == "__main__":
    main(prog_name="python -m loadtest")
