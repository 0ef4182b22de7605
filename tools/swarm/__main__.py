"""The command line: python -m tools.swarm --help."""

import json

import click

from tools.stack import REPOSITORY, open_stack
from tools.stack.__main__ import Commands
from tools.stack.base import project_name, read_settings
from tools.stack.compose import ComposeStack
from tools.swarm.deploy import Manager, deploy, model_of, with_swarm
from tools.swarm.nodes import Nodes
from tools.swarm.stack_file import losses, stack_file


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Bring the project onto a Docker Swarm."""


@main.command("deploy")
def put() -> None:
    """Check, migrate, deploy to the Swarm of this shell's docker (DOCKER_HOST, docker context), and wait for it."""
    deploy(Manager(), _stack(), click.echo)


@main.command()
def file() -> None:
    """Print what `docker stack deploy` is given, and on stderr what Swarm does not do."""
    model = model_of(_stack())
    for loss in losses(model):
        click.echo(f"Not under Swarm: {loss.service} {loss.key} {loss.value}: {loss.instead}", err=True)
    click.echo(json.dumps(stack_file(model)[0], indent=2))


@main.command()
def up() -> None:
    """Make three nodes on this machine, for trying, and deploy to them."""
    _nodes().up(click.echo)


@main.command()
def down() -> None:
    """Take the three nodes away, with all that ran on them."""
    _nodes().down()


def _stack() -> ComposeStack:
    settings = read_settings(REPOSITORY, None)
    stack = open_stack("compose", env={"COMPOSE_FILE": with_swarm(settings.get("COMPOSE_FILE", ""))})
    assert isinstance(stack, ComposeStack)  # noqa: S101 - it was asked for
    return stack


def _nodes() -> Nodes:
    settings = read_settings(REPOSITORY, None)
    return Nodes(project_name(REPOSITORY, settings), settings)


if __name__ == "__main__":
    main()
