"""`python -m loadtest run | report | diff`: the command line. It reads options and prints; the work is done elsewhere."""

import signal
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from loadtest.judge.answers import RunAnswers, answer_run
from loadtest.judge.difference import difference, obstacles
from loadtest.measure.generation import GeneratorProcess, Generators
from loadtest.measure.kit import KitServers, check_app
from loadtest.measure.runner import Progress, Run, calibrate
from loadtest.measure.slicing import Bench
from loadtest.options import RESULTS, expectation, manifest_of, question, reached_at, runtime_of, settings_of
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
    except RunError as error:
        click.echo(f"loadtest: {error.message}", err=True)
        if error.hint:
            click.echo(f"          {error.hint}", err=True)
        raise SystemExit(error.exit_code) from None


def _names(_context: click.Context, _option: click.Parameter, text: str | None) -> tuple[str, ...]:
    return tuple(name.strip() for name in (text or "").split(",") if name.strip())


def _share(_context: click.Context, _option: click.Parameter, text: str | None) -> float | None:
    if text is None:
        return None
    try:
        share = float(text.removesuffix("%")) / 100
    except ValueError:
        share = 0.0
    if not 0 < share < 1:
        raise click.BadParameter(f"{text!r} is no difference; right is a percentage such as 5%")
    return share


@main.command()
@click.option("--profile", type=click.Choice(list(PROFILES)), default="quick", show_default=True, help="How thorough.")
@click.option("--candidates", callback=_names, help="Which servers, by name: sync,uwsgi. Default: gunicorn's classes.")
@click.option("--workloads", callback=_names, help="Which workloads, by name. Default: those of the profile.")
@click.option("--slo", type=POSITIVE, help="Objective for the p99 in milliseconds, for all workloads.")
@click.option("--minutes", type=POSITIVE, help="How long it may take; it ends before when all is decided. Default: the profile's.")
@click.option("--sees", callback=_share, help="The difference that it must be able to see (5%): it takes as long as that needs here.")
@click.option("--seed", type=click.IntRange(min=0), help="The same seed gives the same order and the same arrivals.")
@click.option("--runtime", type=click.Choice(["auto", "compose", "local"]), default="auto", show_default=True)
@click.option("--app", help="Another application than the sample site: package.module:app.")
@click.option("--scenario", type=click.Path(path_type=Path), help="A locustfile of your own instead of the workloads.")
@click.option("--from-access-log", type=click.Path(path_type=Path), help="The gateway's access log: its GET requests are the workload.")
@click.option("--generators", callback=_names, help="Hosts that make the load together, by ssh: load1,load2 (docs/loadtest.md).")
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the run. Default: a new one under loadtest/results.")
@click.option("--plan", "only_plan", is_flag=True, help="Say how long it will take and what it can see, and stop.")
def run(**options: Any) -> None:
    """Measure, judge and report."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with _plainly():
        candidates, workloads = question(options)
        if options["app"]:
            check_app(options["app"])
        servers = KitServers(runtime_of(options), settings_of(options), reached_at(options))
        click.echo(f"Runtime: {servers.runtime}, because {servers.reason}.")
        manifest = manifest_of(options, candidates, workloads, servers)
        click.echo("\n".join(words.plan(manifest)))
        if options["only_plan"]:
            click.echo("\n".join(expectation(manifest, servers)))
        else:
            _measure(options["out"] or RESULTS / manifest.run, manifest, servers, options["generators"])


def _measure(folder: Path, manifest: Manifest, servers: KitServers, hosts: Sequence[str]) -> None:
    """Start, measure and report; whatever happens, what was measured is reported."""
    require_empty(folder)
    with closing(servers), Generators(hosts) if hosts else GeneratorProcess() as generator:
        bench = Bench(manifest, {}, generator, tuple(servers.cpus))
        for candidate in manifest.candidates:
            bench.servers[candidate.name] = servers.start(candidate)
        store = Store.create(folder, replace(manifest, calibration=calibrate(bench, click.echo)))
        try:
            Run(bench, store, click.echo, _show).measure()
        except KeyboardInterrupt:
            click.echo("\nInterrupted: what was measured is kept.", err=True)
            raise SystemExit(INTERRUPTED) from None
        finally:
            if store.records():
                for path in make_report(store):
                    click.echo(path)
    click.echo("\n".join(words.answers(_answers(store))))


def _answers(store: Store) -> RunAnswers:
    return answer_run(store.manifest(), store.records())


def _show(now: Progress) -> None:
    left_out = f", {now.invalid} left out" if now.invalid else ""
    click.echo(
        f"[at most {now.left_s / 60:.0f} min left] block {now.block + 1}, round {now.round + 1}: {now.slices} slices{left_out}; "
        f"{now.undecided} of {now.pairs} pairs of server and workload are undecided",
        err=True,
    )


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
