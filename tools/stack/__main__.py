"""The command line: python -m tools.stack --help."""

import signal
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from tools.local.stack import LocalStack
from tools.stack import REPOSITORY, Stack, StackError, choose, open_stack
from tools.stack.backup import backup, restore
from tools.stack.base import Unit, read_settings
from tools.stack.compose import ComposeStack
from tools.stack.failover import Failover
from tools.stack.machine import PACKAGES, require_commands
from tools.stack.rollout import Rollout, Wish, previous_of, roll_gateway
from tools.stack.rotation import rotate


class Commands(click.Group):
    """Turns errors the user can act on into lines on stderr and an exit code."""

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except StackError as error:
            for line in error.details.splitlines():
                click.echo(f"    {line}", err=True)
            click.echo(f"stack: {error.message}{f'; {error.hint}' if error.hint else ''}", err=True)
            sys.exit(error.exit_code)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--project",
    type=click.Path(path_type=Path, exists=True, file_okay=False, resolve_path=True),
    default=REPOSITORY,
    help="The folder with docker-compose.yml, that of an ejected project too; the kit's own.",
)
@click.option("--name", default="", help="As `docker compose -p`; not given: COMPOSE_PROJECT_NAME, else `name` of docker-compose.yml.")
@click.option("--runtime", default="auto", show_default=True, help="auto, compose or local; the setting RUNTIME does the same.")
@click.pass_context
def main(ctx: click.Context, project: Path, name: str, runtime: str) -> None:
    """Start, look at and stop the kit, as containers or as plain processes."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # clear up after `kill` as after Ctrl-C
    ctx.obj = open_stack(runtime, name=name, root=project)
    if ctx.obj.runtime == "local" and project != REPOSITORY:
        raise StackError("the local runtime runs the kit's own site alone", hint="start Docker", exit_code=2)
    ctx.meta.update(runtime=runtime, project=project)


@main.command()
@click.pass_context
def up(ctx: click.Context) -> None:
    """Start everything and wait until it answers."""
    stack: Stack = ctx.obj
    project = ctx.meta["project"]
    choice = choose(ctx.meta["runtime"], name=stack.name, root=project, settings=read_settings(project, None))
    click.echo(f"Runtime: {choice.runtime}, because {choice.reason}.")
    stack.up()
    click.echo(_table(stack.processes()))
    click.echo(f"Ready: {stack.url}")


@main.command()
@click.option("--volumes", is_flag=True, help="Delete the database and the generated secrets too.")
@click.pass_obj
def down(stack: Stack, volumes: bool) -> None:  # noqa: FBT001 - click passes options by name
    """Stop everything; the database and the generated secrets are kept."""
    stack.down(volumes=volumes)
    if isinstance(stack, ComposeStack):
        # What a local stack left when it died, before there was an engine here.
        LocalStack(stack.name, root=stack.root, settings=stack.settings).down(volumes=volumes)
    click.echo(
        f"{stack.name} is stopped; {'nothing of it is left' if volumes else 'its database and secrets are kept (--volumes deletes them)'}."
    )


@main.command()
@click.pass_obj
def status(stack: Stack) -> None:
    """Say what runs; exit code 1 when nothing does."""
    units = stack.processes()
    if not units:
        raise StackError(f"{stack.name} does not run", hint="run make up")
    click.echo(_table(units))
    click.echo(f"{stack.url} ({stack.runtime})")


@main.command()
@click.option("--follow", "-f", is_flag=True, help="Go on printing until interrupted.")
@click.argument("service", required=False)
@click.pass_obj
def logs(stack: Stack, service: str | None, follow: bool) -> None:  # noqa: FBT001 - click passes options by name
    """Print what the services have written."""
    if follow:
        with suppress(KeyboardInterrupt):
            stack.follow_logs(service)
    else:
        click.echo(stack.logs(service), nl=False)


@main.command()
@click.argument("service")
@click.argument("count", type=click.IntRange(min=1))
@click.pass_obj
def scale(stack: Stack, service: str, count: int) -> None:
    """Run COUNT instances of SERVICE, until the next `up`, which goes by APP_REPLICAS."""
    if isinstance(stack, ComposeStack) and service == "app":
        Rollout(stack, Wish()).scale(count)
    else:
        stack.scale(service, count)
    click.echo(_table(stack.processes()))


@main.command()
@click.argument("service", type=click.Choice(["app", "gateway"]), default="app")
@click.option("--image", default="", help="An image that is on this machine, instead of one built from the sources.")
@click.option("--at-once", default=1, show_default=True, type=click.IntRange(min=1), help="So many containers in one step.")
@click.option("--ready", "ready_s", default=60, show_default=True, type=click.IntRange(min=1), help="Seconds for a new one to be healthy.")
@click.option("--migrate/--no-migrate", default=True, show_default=True, help="Bring the database's tables up to date first.")
@click.option("--plan", "only_plan", is_flag=True, help="Say what would be done, and stop.")
@click.pass_obj
def rollout(stack: Stack, /, service: str, *, only_plan: bool, **wishes: Any) -> None:
    """Replace the app's containers (or the gateway's) by a new version, without a gap; a bad one is taken back."""
    compose, wish = _compose(stack), Wish(**wishes)
    if service == "gateway":
        if wish.image or only_plan:
            raise click.UsageError("--image and --plan are for the app; the gateway is built from nginx/ and replaced in one step")
        roll_gateway(compose, ready_s=wish.ready_s)
        return
    release = Rollout(compose, wish)
    click.echo("\n".join(release.plan()))
    if not only_plan:
        release.run()


@main.command()
@click.pass_obj
def rollback(stack: Stack) -> None:
    """Go back to the version that the last rollout replaced; the database stays as it is."""
    compose = _compose(stack)
    Rollout(compose, Wish(image=previous_of(compose), migrate=False)).run()


@main.command("rotate-secret")
@click.option("--finish", is_flag=True, help="Accept the old key no longer.")
@click.pass_obj
def rotate_secret(stack: Stack, *, finish: bool) -> None:
    """Sign the sessions with another key, without signing anybody out."""
    rotate(_compose(stack), finish=finish)


@main.command()
@click.argument("switch", type=click.Choice(["on", "off"]))
@click.pass_obj
def maintenance(stack: Stack, switch: str) -> None:
    """Give everybody but MAINTENANCE_ALLOW 503 with Retry-After, until it is switched off."""
    folder = 'folder=${LOCAL_FOLDER:+$LOCAL_FOLDER/data}; folder=${folder:-/var/lib}/maintenance; mkdir -p "$folder"; '
    folder += 'ls "${LOCAL_FOLDER:+$LOCAL_FOLDER/conf/gateway}/docker-entrypoint.d/check-maintenance" > /dev/null; '
    answer = stack.exec("gateway", ["sh", "-ec", folder + ('touch "$folder/on"' if switch == "on" else 'rm -f "$folder/on"')])
    if answer.returncode:
        raise StackError(
            f"maintenance is not {switch}", hint="run make up; in a copy: make eject, --with maintenance", details=answer.stderr
        )
    click.echo(f"maintenance is {switch}")


@main.command("backup")
@click.argument("file", required=False, type=click.Path(dir_okay=False, path_type=Path))
@click.option("--at", default="", help="As it was at this time, such as 2026-12-02 16:00:00+00 (compose/archive.yaml).")
@click.pass_obj
def back_up(stack: Stack, file: Path | None, at: str) -> None:
    """Write the database to FILE (default: a new one in backups/), while the site runs."""
    written = backup(_compose(stack), file, at)
    click.echo(f"{written} ({written.stat().st_size} bytes)")


@main.command("restore")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def put_back(stack: Stack, /, file: Path, *, yes: bool) -> None:
    """Put the database back to what FILE holds; what was written since is gone."""
    compose = _compose(stack)
    if not yes:
        click.confirm(f"Replace the database of {stack.name} by {file}? What was written since is gone.", abort=True)
    restore(compose, file)
    click.echo(f"The database holds what {file} held.")


@main.command()
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def failover(stack: Stack, /, *, yes: bool) -> None:
    """Make the replica of compose/replica.yaml the primary, and the primary its replica."""
    change = Failover(_compose(stack))
    click.echo(f"{change}.")
    if not change.planned and not yes:
        click.confirm("Is it to be so?", abort=True)
    change.run(click.echo)


def _compose(stack: Stack) -> ComposeStack:
    if isinstance(stack, ComposeStack):
        return stack
    raise StackError("this is for containers; the local runtime has none", hint="start Docker, and: RUNTIME=compose make up", exit_code=2)


@main.command()
@click.argument("commands", nargs=-1, required=True, type=click.Choice(sorted(PACKAGES)))
def install(commands: tuple[str, ...]) -> None:
    """Make sure that programs are there: by apt-get as root on Debian, else say what to run."""
    require_commands(commands, read_settings(REPOSITORY, None))


def _table(units: Iterable[Unit]) -> str:
    rows = [("SERVICE", "ID", "ADDRESS", "STATE"), *units]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    return "\n".join("  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)


if __name__ == "__main__":
    main()
