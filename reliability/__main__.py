"""`python -m reliability chaos`: the command line. It reads wishes and prints; the work is done elsewhere."""

from __future__ import annotations

import os
import shlex
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

import click

from loadtest.machine import fingerprint
from reliability import chaos as timeline, report
from reliability.faults import FAULTS
from stack import StackError

RESULTS = Path(__file__).resolve().parent / "results"
CLASSES = ("sync", "gthread", "gevent", "tornado")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Show under load what faults cost."""
    signal.signal(signal.SIGTERM, _end)


def _end(_signal: int, _frame: object) -> NoReturn:
    """Clear up after `kill` as after Ctrl-C."""
    raise KeyboardInterrupt


@main.command()
@click.option("--class", "classes", multiple=True, type=click.Choice(CLASSES), default=CLASSES[:3], show_default=True)
@click.option("--fault", "faults", multiple=True, type=click.Choice(list(FAULTS)), default=list(FAULTS), help="Default: all of them.")
@click.option("--rate", "rate_per_s", default=200.0, show_default=True, type=click.FloatRange(1, 5000), help="Requests per second.")
@click.option("--replicas", default=3, show_default=True, type=click.IntRange(1, 20), help="App containers.")
@click.option("--build/--no-build", default=True, show_default=True)
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), help="Folder of the run. Default: a new one in reliability/results."
)
@click.option("--plan", "only_plan", is_flag=True, help="Say how long it takes, and stop.")
def chaos(*, out: Path | None, only_plan: bool, **wishes: object) -> None:
    """Inject one fault after the other into a stack of its own, and draw what happened."""
    wish = timeline.Wish(**wishes)  # type: ignore[arg-type] # click has checked them
    chosen = [FAULTS[name] for name in wish.faults]
    minutes = len(wish.classes) * (1 + sum(timeline.BEFORE_S + f.lasts_s + f.after_s + 8 for f in chosen) / 60)
    click.echo(f"{len(chosen)} faults, {len(wish.classes)} worker classes, {wish.rate_per_s:g} requests/s: about {minutes:.0f} minutes.")
    if only_plan:
        return
    folder = out or RESULTS / datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    folder.mkdir(parents=True, exist_ok=True)
    try:
        records = timeline.run(wish, folder, click.echo)
    except StackError as error:
        click.echo(f"reliability: {error.message}{f'; {error.hint}' if error.hint else ''}\n{error.details}", err=True)
        sys.exit(error.exit_code)
    finally:
        for left in folder.glob("load-*.json"):
            left.unlink()
    seen = fingerprint("compose", {})
    machine = (
        f"{seen.cpus} cores of {seen.cpu_model}, load average {os.getloadavg()[0]:.1f} at the end, commit {seen.git_commit}; "
        "the load generator shares them."
    )
    for path in report.write(records, folder, shlex.join(["python", "-m", "reliability", *sys.argv[1:]]), machine):
        click.echo(path)


if __name__ == "__main__":
    main()
