"""The command line: python -m tools.doctor --help."""

import json
import sys
from pathlib import Path

import click

from tools.doctor.judge import any_broken, judge
from tools.doctor.report import Subject, as_json, text
from tools.doctor.rules import RULES
from tools.doctor.survey import survey
from tools.doctor.values import CannotRead

CANNOT_READ = 2


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--dir", "folder", type=click.Path(path_type=Path), default=Path(), help="The folder with docker-compose.yml; this one.")
@click.option(
    "-f", "--file", "files", multiple=True, type=click.Path(path_type=Path), help="A Compose file, as `docker compose -f`; may be repeated."
)
@click.option("--project", help="Which running stack: its Compose project, or its name in the local runtime.")
@click.option(
    "--runtime",
    type=click.Choice(["auto", "compose", "local", "files"]),
    default="auto",
    show_default=True,
    help="What to look at beside the files: what runs, what runs in that runtime, or nothing.",
)
@click.option("--json", "wants_json", is_flag=True, help="The same facts as JSON.")
def main(folder: Path, files: tuple[Path, ...], project: str | None, runtime: str, *, wants_json: bool) -> None:
    """Say whether nginx, gunicorn, Compose, Flask and the database agree.

    Exit code 0: nothing is broken; 1: a rule is broken; 2: the configuration cannot be read.
    """
    try:
        found = survey(folder, files, project, runtime)
    except CannotRead as error:
        click.echo(f"doctor: {error}", err=True)
        sys.exit(CANNOT_READ)
    subject = Subject(str(found.kit.root), found.file_names(), found.files.runtime, found.running_as)
    findings = (*judge(RULES, found.files, found.running), *found.drift())
    if wants_json:
        click.echo(json.dumps(as_json(subject, findings), indent=2))
    else:
        for line in text(subject, findings):
            click.echo(line)
    sys.exit(1 if any_broken(findings) else 0)


if __name__ == "__main__":
    main(prog_name="python -m tools.doctor")
