"""Copies of the kit for the doctor to look at."""

from collections.abc import Callable

import pytest

from tests.doctor.kits import Kit
from tools.doctor.compose import plugin_problem

MakeKit = Callable[..., Kit]


@pytest.fixture(scope="session")
def compose_plugin(not_run: Callable[[str], None]) -> None:
    """The rules about Compose need its plugin; without it they are not run, and the reason is named."""
    problem = plugin_problem()
    if problem:
        not_run(problem)


@pytest.fixture
def make_kit(tmp_path_factory: pytest.TempPathFactory) -> MakeKit:
    """Return a function that copies the kit, with the sample site's code when `app` is true.

    Not in `tmp_path`: the name of a test is long, and the path of a socket in the copy may have 103 bytes.
    """
    return lambda *, app=False: Kit(tmp_path_factory.mktemp("k") / "kit", app=app)
