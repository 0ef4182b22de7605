"""Copies of the kit for the doctor to look at."""

import shutil
from collections.abc import Callable

import pytest

from tests.doctor.kits import Kit

MakeKit = Callable[..., Kit]


@pytest.fixture(scope="session")
def compose_plugin(not_run: Callable[[str], None]) -> None:
    """The rules about Compose need its plugin; without it they are not run, and the reason is named."""
    if not shutil.which("docker"):
        not_run("docker is not installed")


@pytest.fixture
def make_kit(tmp_path_factory: pytest.TempPathFactory) -> MakeKit:
    """Return a function that copies the kit, with the sample site's code when `app` is true."""
    return lambda *, app=False: Kit(tmp_path_factory.mktemp("k") / "kit", app=app)
