"""The command line: python -m tools.doctor --help."""

import json
import sys
from pathlib import Path
from typing import TextIO

import click

from tools.doctor import compose, kubernetes
from tools.doctor.facts import from_containers, from_files
from tools.doctor.report import as_json, judge, text
from tools.doctor.rules import RULES, Verdict
from tools.doctor.values import CannotRead, Missing


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--project",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    default=Path(),
    help="The folder with docker-compose.yml; this one.",
)
@click.option("--running/--no-running", default=True, help="Look at the running containers too, where there are any.")
@click.option(
    "--manifests", type=click.File(), help="Rendered Kubernetes manifests (kubectl kustomize DIR), or -, in place of the Compose files."
)
@click.option("--json", "wants_json", is_flag=True, help="The same as JSON.")
def main(project: Path, *, manifests: TextIO | None, running: bool, wants_json: bool) -> None:
    """Say whether nginx, gunicorn, Compose, Flask and the database agree.

    Exit code 0: nothing is wrong; 1: a rule is broken; 2: wrong usage, or the configuration cannot be read.
    """
    root = project.resolve()
    try:
        services = kubernetes.read(manifests.read(), manifests.name) if manifests else compose.read(root)
        found = compose.running(root, services) if running and not manifests else Missing("not looked at")
        findings = judge(RULES, from_files(root, services), None if isinstance(found, Missing) else from_containers(found))
    except CannotRead as error:
        click.echo(f"doctor: {error}", err=True)
        sys.exit(2)
    runs = f"nothing ({found.reason})" if isinstance(found, Missing) else f"the containers of {found.name}"
    click.echo(json.dumps(as_json(str(root), runs, findings), indent=2) if wants_json else "\n".join(text(str(root), runs, findings)))
    sys.exit(1 if any(finding.verdict is Verdict.BROKEN for finding in findings) else 0)


if __name__ == "__main__":
    main(prog_name="python -m tools.doctor")
