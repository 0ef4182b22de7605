"""`python -m loadtest run | report | diff`: the command line. It reads wishes and prints; the work is done elsewhere."""

from __future__ import annotations

import secrets
import shlex
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, Progress as Bar, TextColumn

from loadtest.catalogue import choose, load_candidates, load_workloads
from loadtest.difference import compare, lines, obstacles
from loadtest.generation import GeneratorError, Generators
from loadtest.inference import CONFIDENCE
from loadtest.machine import fingerprint, probe_noise
from loadtest.order import Order
from loadtest.recorder import ALL
from loadtest.records import Candidate, Limits, Manifest, Workload
from loadtest.report import make_report
from loadtest.run.cells import Bench
from loadtest.run.kit import KitServers, check_app
from loadtest.run.plan import PROFILES, Profile, describe, order_of
from loadtest.run.runner import Progress, calibrate, run as run_plan
from loadtest.run.servers import ServerError, Servers
from loadtest.store import RunError, Store
from loadtest.verdicts import results

RESULTS = Path(__file__).resolve().parent / "results"
MARGIN = 0.05
RATES = (0.5, 0.7, 0.9, 1.2)
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
@click.option("--candidates", callback=_names, help="Which servers, by name: sync,gthread. Default: all.")
@click.option("--workloads", callback=_names, help="Which workloads, by name. Default: those of the profile.")
@click.option("--slo", type=click.FloatRange(min=0, min_open=True), help="Objective for the p99 in milliseconds, for all workloads.")
@click.option("--blocks", type=click.IntRange(min=1), help="How often everything is measured. Default: the profile's.")
@click.option("--seed", type=click.IntRange(min=0), help="The same seed gives the same order and the same arrivals.")
@click.option("--runtime", type=click.Choice(["auto", "compose", "local"]), default="auto", show_default=True)
@click.option("--processes", type=click.IntRange(min=1), default=1, show_default=True, help="Generator processes.")
@click.option("--app", help="Another application than the sample site: package.module:app.")
@click.option("--scenario", type=click.Path(path_type=Path), help="A locustfile of your own instead of the workloads.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the run. Default: a new one under loadtest/results.")
@click.option("--resume", type=click.Path(path_type=Path), help="Go on with the run in this folder.")
@click.option("--plan", "only_plan", is_flag=True, help="Say how long it will take and what it can see, and stop.")
def run(**wishes: Any) -> None:
    """Measure, judge and report."""
    with _plainly():
        profile = _profile(wishes)
        if wishes["resume"]:
            store = Store(wishes["resume"])
            manifest = store.manifest()
            profile = replace(PROFILES[manifest.profile], blocks=manifest.blocks)
            _measure(store, Bench(manifest, profile, _servers(wishes), wishes["processes"]))
            return
        candidates, workloads = _question(wishes, profile)
        manifest = _manifest(wishes, profile, candidates, workloads)
        click.echo("\n".join(describe(manifest, profile)))
        if wishes["only_plan"]:
            return
        servers = _servers(wishes)
        noise = probe_noise()
        manifest = replace(manifest, machine=fingerprint(servers.runtime, servers.versions()), noise=noise)
        manifest = replace(manifest, calibration=calibrate(servers, manifest, wishes["processes"], click.echo))
        store = Store.create(wishes["out"] or RESULTS / manifest.run, manifest)
        _measure(store, Bench(manifest, profile, servers, wishes["processes"]))


def _profile(wishes: dict[str, Any]) -> Profile:
    profile = PROFILES[wishes["profile"]]
    blocks = wishes["blocks"] or profile.blocks
    return replace(profile, blocks=blocks, rate_blocks=min(profile.rate_blocks, blocks))


def _question(wishes: dict[str, Any], profile: Profile) -> tuple[tuple[Candidate, ...], tuple[Workload, ...]]:
    known, works = load_candidates(), load_workloads()
    candidates = choose(known, wishes["candidates"] or list(known), "candidate")
    if wishes["scenario"]:
        workloads: tuple[Workload, ...] = (_own_workload(wishes["scenario"]),)
    else:
        workloads = choose(works, wishes["workloads"] or profile.workloads or list(works), "workload")
    if wishes["slo"]:
        workloads = tuple(replace(work, slo_ms=wishes["slo"]) for work in workloads)
    if wishes["app"]:
        check_app(wishes["app"])
    return candidates, workloads


def _own_workload(scenario: Path) -> Workload:
    """Make a workload of a locustfile; a generator looks at it and refuses what does not serve, before anything is started."""
    users = ((str(scenario.resolve()), "*", 1.0),)
    with Generators(Order(url="http://127.0.0.1:9", mix=users)):
        pass
    return Workload(name="own", title=scenario.name, question="Which server is best for this work?", users=users, judged=ALL, slo_ms=200.0)


def _manifest(wishes: dict[str, Any], profile: Profile, candidates: Sequence[Candidate], workloads: Sequence[Workload]) -> Manifest:
    seed = wishes["seed"] if wishes["seed"] is not None else secrets.randbelow(100_000)
    now = datetime.now(UTC)
    return Manifest(
        run=f"{now:%Y%m%d-%H%M%S}-{profile.name}-{seed}",
        created=now.isoformat(timespec="seconds"),
        command=shlex.join(["python", "-m", "loadtest", *sys.argv[1:], *(["--seed", str(seed)] if wishes["seed"] is None else [])]),
        profile=profile.name,
        gives_verdict=profile.gives_verdict,
        seed=seed,
        blocks=profile.blocks,
        baseline=candidates[0].name,
        margin=MARGIN,
        confidence=CONFIDENCE,
        rates=RATES,
        step_s=profile.step_s,
        candidates=tuple(candidates),
        workloads=tuple(workloads),
        limits=Limits(),
        machine=fingerprint("undecided"),
        order=order_of(seed, profile.blocks, candidates),
    )


def _servers(wishes: dict[str, Any]) -> Servers:
    return KitServers(wishes["runtime"], {"APP_MODULE": wishes["app"]} if wishes["app"] else {})


def _measure(store: Store, bench: Bench) -> None:
    """Run what is missing; whatever happens, what was measured is reported, and how to go on is said."""
    signal.signal(signal.SIGTERM, _interrupt)
    finished = False
    try:
        with _bar() as show:
            run_plan(bench, store, show, click.echo)
        finished = True
    except KeyboardInterrupt:
        click.echo("\nInterrupted.", err=True)
        raise SystemExit(INTERRUPTED) from None
    finally:
        if store.cells():
            for path in make_report(store):
                click.echo(path)
        if not finished:
            click.echo(f"What was measured is kept. To go on: python -m loadtest run --resume {store.folder}", err=True)
    for answer in results(store.manifest(), store.cells()).answers:
        click.echo(f"{answer.workload.name}: {answer.sentence}")


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


@contextmanager
def _bar() -> Iterator[Callable[[Progress], None]]:
    columns = (BarColumn(), TextColumn("{task.percentage:>3.0f} %"), TextColumn("{task.fields[left]}"), TextColumn("{task.description}"))
    with Bar(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=1, left="")

        def show(progress: Progress) -> None:
            left = f"{progress.left_s / 60:.0f} min left" if progress.left_s else ""
            bar.update(task, total=progress.total, completed=progress.done, description=progress.doing, left=left)

        yield show


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
        one, other = (results(store.manifest(), store.cells()) for store in (Store(first), Store(second)))
        reasons = obstacles(one.manifest, other.manifest)
        if reasons:
            raise RunError(f"these runs cannot be compared: {'; '.join(reasons)}", "measure both on one machine, with the same question", 2)
        found = compare(one, other)
    click.echo("\n".join(lines(found)))
    raise SystemExit(1 if found.contradictions else 0)


if __name__ == "__main__":
    main(prog_name="python -m loadtest")
