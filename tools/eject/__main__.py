"""The command line: python -m tools.eject --help, or make eject DEST=../myservice APP_MODULE=package.module:app."""

import os
import subprocess
import sys
from pathlib import Path

import click

from tools.eject.files import executable, files
from tools.eject.project import Project, look_at

LOCK = Path("deploy/requirements.txt")


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("dest", type=click.Path(path_type=Path))
@click.argument("app_module")
@click.option(
    "--database",
    type=click.Choice(["postgres", "none"]),
    default="postgres",
    show_default=True,
    help="PostgreSQL in the stack, or none: SQLite, or one elsewhere.",
)
@click.option(
    "--migrate",
    metavar="COMMAND",
    help="Brings the database up to date before the app starts.  [flask db upgrade, when there is a migrations folder]",
)
@click.option("--health-path", default="/healthz", show_default=True, help="Answers 200 while the application is well.")
@click.option(
    "--writable",
    multiple=True,
    metavar="FOLDER",
    help="A folder that the application writes, such as instance; becomes a volume. May be given again.",
)
@click.option("--static", metavar="FOLDER", help="The static files, for nginx.  [PACKAGE/static, when it is there]")
@click.option("--requirements", metavar="FILE", help="What the application needs.  [requirements.txt, else pyproject.toml]")
@click.option("--name", help="Of the Compose project and the images.  [the folder's name]")
@click.option("--force", is_flag=True, help="Overwrite files of the same name.")
def main(dest: Path, app_module: str, *, database: str, force: bool, **described: object) -> None:
    """Copy into DEST what a project needs to be served as this kit serves its sample site, for APP_MODULE.

    DEST is the folder of your project; APP_MODULE is package.module:app, or package.module:create_app().
    """
    project = look_at(dest, app_module, database=database == "postgres", **described)  # type: ignore[arg-type]  # click has typed them
    wanted = files(project)
    there = sorted(str(path) for path in wanted if (project.folder / path).exists())
    if there and not force:
        raise click.UsageError(f"already in {project.folder}: {', '.join(there)}; move them away, or overwrite them with --force")
    for path, text in wanted.items():
        target = project.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        target.chmod(0o755 if executable(path) else 0o644)
    click.echo(f"{len(wanted)} files are in {project.folder}.")
    _lock(project)
    click.echo(_what_to_edit(project))


def _lock(project: Project) -> None:
    """Lock what the image installs, with hashes: the build takes nothing else."""
    command = ["uv", "pip", "compile", "--quiet", "--universal", "--python-version", "3.14", "--generate-hashes"]
    command += ["--no-emit-index-url", "--no-emit-find-links", "--output-file", str(LOCK), project.requirements, "deploy/server.in"]
    click.echo(f"Locking {project.requirements} and gunicorn into {LOCK}.")
    shown = {**os.environ, "UV_CUSTOM_COMPILE_COMMAND": " ".join(command)}
    done = subprocess.run(command, cwd=project.folder, env=shown, capture_output=True, text=True, check=False)
    if done.returncode:
        click.echo(done.stderr, err=True)
        click.echo(
            f"eject: {LOCK} could not be made; mend {project.requirements} and run in {project.folder}: {' '.join(command)}", err=True
        )
        sys.exit(1)


def _what_to_edit(project: Project) -> str:
    database = [
        "read the database's address from DATABASE_URL and its password from the file that DATABASE_PASSWORD_FILE names",
    ]
    steps = [
        "read the secret key from the file that SECRET_KEY_FILE names (made at the first start)",
        "wrap the application in werkzeug's ProxyFix(app, x_for=1, x_proto=1, x_host=1): one hop, the gateway",
        "set MAX_CONTENT_LENGTH from the environment: the gateway has the same limit from the same setting",
        *(database if project.database else []),
        f"answer 200 at {project.health_path} without asking the database",
    ]
    lines = ["", "In your application:", *(f"  - {step}" for step in steps), "", "Then, in that folder:"]
    lines += [
        "  docker compose up --build --wait",
        "  make doctor" if (project.folder / "Makefile").exists() else "  make -f deploy.mk doctor",
    ]
    if "include deploy.mk" not in (project.folder / "Makefile").read_text():
        lines += ["", "Your Makefile was left alone; `include deploy.mk` in it brings the targets up, down, logs, status and doctor."]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
