"""Start, look at and stop the kit: one interface, two runtimes.

- "compose": containers, driven through the `docker compose` command;
- "local": the same nginx and gunicorn files as plain processes on loopback.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from tools.stack.base import StackError, Unit, project_name, read_settings
from tools.stack.choice import Choice, choose
from tools.stack.compose import ComposeStack

if TYPE_CHECKING:
    from tools.local.stack import LocalStack

__all__ = ["Choice", "Stack", "StackError", "Unit", "choose", "open_stack"]

# What both can do; every method raises StackError.
Stack: TypeAlias = "ComposeStack | LocalStack"
REPOSITORY = Path(__file__).resolve().parents[2]


def open_stack(
    runtime: str = "auto", *, name: str = "", env: Mapping[str, str] | None = None, overrides: Sequence[Path] = (), root: Path = REPOSITORY
) -> Stack:
    """Return the stack of the project in `root`, started or not; `name` goes before COMPOSE_PROJECT_NAME.

    `runtime` is "auto", "compose" or "local"; with "auto" the setting RUNTIME decides, and without it what this machine can run.
    `env` is laid over `.env` and the environment. `overrides` are Compose files merged over docker-compose.yml;
    the local runtime refuses them, because it would leave out what they ask for.
    """
    settings = read_settings(root, {**(env or {}), **({"COMPOSE_PROJECT_NAME": name} if name else {})})
    name = project_name(root, settings)
    choice = choose(runtime, name=name, root=root, settings=settings)
    if choice.runtime == "compose":
        return ComposeStack(name, root=root, settings=settings, overrides=overrides)
    if overrides:
        raise StackError("the local runtime cannot merge Compose files", hint="use RUNTIME=compose", exit_code=2)
    from tools.local.stack import LocalStack  # it is made of this package's modules

    return LocalStack(name, root=root, settings=settings)
