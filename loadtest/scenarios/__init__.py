"""What visitors do: plain Locust users, one file each. They run by hand, in the closed model, and in the open one."""

import importlib.util
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

from locust import FastHttpUser, HttpUser, User

from loadtest.catalogue import nearest
from loadtest.scenarios.journey import Journey
from loadtest.scenarios.lab import Cpu, Hello, Json, Mixed, Null, Page, Stream, Upload, Wait, Write
from loadtest.scenarios.slow_client import SlowClient

SCENARIOS: dict[str, type[FastHttpUser]] = {
    cls.__name__: cls for cls in (Hello, Json, Page, Write, Cpu, Wait, Mixed, Upload, Stream, SlowClient, Journey, Null)
}
EVERY_USER = "*"  # all users of a locustfile, with Locust's own weights


def load_users(mix: Iterable[tuple[str, str, float]]) -> dict[type[FastHttpUser | HttpUser], float]:
    """Return {user class: share} for (locustfile, class name, share); "" stands for the kit's own scenarios.

    Raises ValueError with one line that says what would be right.
    """
    found: dict[type[FastHttpUser | HttpUser], float] = {}
    for locustfile, name, share in mix:
        users = users_of(Path(locustfile)) if locustfile else SCENARIOS
        if name == EVERY_USER:
            found |= {cls: share * float(cls.fixed_count or cls.weight) for cls in users.values()}
        elif name in users:
            found[users[name]] = share
        else:
            raise ValueError(f"{locustfile or 'the kit'} has no scenario {name!r}; {nearest(name, users)}")
    return found


def users_of(locustfile: Path) -> dict[str, type[FastHttpUser | HttpUser]]:
    """Return the users that a locustfile defines or imports, by name; raises ValueError when there is none that serves."""
    users: dict[str, type[FastHttpUser | HttpUser]] = {}
    for name, thing in vars(_module(locustfile)).items():
        if not isinstance(thing, type) or not issubclass(thing, User) or thing.abstract:
            continue
        if not issubclass(thing, FastHttpUser | HttpUser):
            raise ValueError(f"{locustfile}: {name} is no HttpUser or FastHttpUser; others do not say when they send")  # noqa: TRY004 - the user's
        users[name] = thing
    if not users:
        raise ValueError(f"{locustfile} defines no user; right is a class such as `class Visitor(HttpUser)` with a @task")
    return users


def _module(locustfile: Path) -> ModuleType:
    name = f"loadtest_user_{locustfile.stem}"
    if name in sys.modules and sys.modules[name].__file__ == str(locustfile.resolve()):
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, locustfile.resolve())
    if spec is None or spec.loader is None or not locustfile.is_file():
        raise ValueError(f"{locustfile} is no locustfile; right is the path of a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    folder = str(locustfile.resolve().parent)
    if folder not in sys.path:
        sys.path.append(folder)  # last: a locustfile's neighbours are found, and shadow nothing
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # it is someone else's code
        del sys.modules[name]
        raise ValueError(f"{locustfile} cannot be loaded: {type(error).__name__}: {error}") from error
    return module
