"""Every server of servers/ serves the whole site behind the gateway; what one does otherwise stands in its exceptions.toml.

SERVERS names those that are tried; `make servers` tries all. One stack with one instance of each, one after the other: only the app
container is replaced.
"""

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.servers.behaviours import BEHAVIOURS, COMPOSE_ONLY, SERVERS, YES, Site, description, exceptions
from tests.servers.table import PAGE, page
from tools.stack import Stack, StackError, open_stack
from tools.stack.machine import free_ports

NAMES = os.environ.get("SERVERS", "uwsgi granian").split()
# Without SERVERS one is enough in the local runtime; uWSGI would be compiled there for more than a minute.
IN_LOCAL = NAMES if "SERVERS" in os.environ else ["granian"]
PAIRS = [("compose", name) for name in NAMES] + [("local", name) for name in IN_LOCAL if description(name).get("only") != "compose"]
SETTINGS = {"LAB_ENABLED": "1", "LIMITS": "off", "WAF_MODE": "Off", "WAF_REPLICAS": "0", "APP_REPLICAS": "1"}
WITNESS = Path(__file__).with_name("witness.yaml")
Run = Callable[[str, str], Stack]


@pytest.fixture(scope="module")
def run() -> Iterator[Run]:
    """Return a function that lets a server run in this module's stack of a runtime."""
    name, ports = f"kit-test-{os.getpid()}-servers", dict(zip(("compose", "local"), free_ports(2), strict=True))
    with ExitStack() as exits:

        def run(runtime: str, server: str) -> Stack:
            settings = {**SETTINGS, "GATEWAY_PORT": str(ports[runtime]), "SERVER": server}
            stack = open_stack(runtime, name=name, env=settings, overrides=[WITNESS] if runtime == "compose" else [])
            if runtime == "local":
                stack.down()
            exits.callback(stack.down, volumes=True)
            try:
                stack.up()
            except StackError as error:
                pytest.fail(f"{error.message}; {error.hint}\n{error.details}", pytrace=False)
            return stack

        yield run


@pytest.fixture(scope="module", params=PAIRS, ids="-".join)
def site(request: pytest.FixtureRequest, run: Run, unavailable: Mapping[str, str], not_run: Callable[[str], None]) -> Site:
    """The site under one server."""
    runtime, server = request.param
    if unavailable[runtime]:
        not_run(f"runtime {runtime}: {unavailable[runtime]}")
    return Site(server, run(runtime, server))


@pytest.fixture
def stack(site: Site) -> Stack:
    """What a failure is told with: its logs and the configuration of nginx."""
    return site.stack


# In the app container: a second uWSGI, with NAME=VALUE or without an option of uwsgi.ini; one request, and what it said at its start.
SECOND = """
import json, os, pathlib, shutil, socket, subprocess, sys, tempfile, time
head, change = sys.argv[1:]
kit = pathlib.Path(tempfile.mkdtemp())
shutil.copytree("/srv/servers", kit / "servers")
for name in ("app", "gunicorn_hooks", "tests"):
    (kit / name).symlink_to(f"/srv/{name}")
ini = kit / "servers/uwsgi/uwsgi.ini"
ini.write_text("".join(line for line in ini.open() if line.split(" ")[0] != change))
env = os.environ | dict([change.split("=")] if "=" in change else [])
server = subprocess.Popen([sys.executable, kit / "servers/start.py", "uwsgi", "127.0.0.1:8002"], env=env, stderr=subprocess.PIPE, text=True)
try:
    while server.poll() is None:
        try:
            connection = socket.create_connection(("127.0.0.1", 8002), timeout=30)
            break
        except ConnectionRefusedError:
            time.sleep(0.05)
    connection.sendall(b"GET /readyz HTTP/1.1\\r\\nHost: localhost\\r\\n" + head.encode() + b"\\r\\n")
    try:
        answer = connection.recv(12)
    except ConnectionResetError:
        answer = b""
    connection.close()
finally:
    server.terminate()  # while its second worker may still load the application: worker-reload-mercy
    said = server.communicate(timeout=60)[1]
    print(said, file=sys.stderr)
print(json.dumps([answer.decode(), server.returncode, said]))
"""
LINE, FIELDS = f"X: {'x' * 8187}\r\n", "".join(f"X-{number}: x\r\n" for number in range(99))


@pytest.mark.usefixtures("stack")
@pytest.mark.parametrize("site", [pair for pair in PAIRS if pair == ("compose", "uwsgi")], ids="-".join, indirect=True)
@pytest.mark.parametrize(
    ("change", "head", "status", "said"),
    [
        ("", LINE, "200", "thunder lock: enabled.*mercy for .* is 30 seconds.*spawned uWSGI worker.*WSGI app 0"),
        ("", FIELDS, "200", ""),
        # The twin: uWSGI's own limit is below what nginx passes on.
        ("buffer-size", LINE, "", "invalid HTTP request size"),
        ("UWSGI_LAZY_APPS=0", "", "200", "WSGI app 0.*spawned uWSGI worker"),
        ("UWSGI_THUNDER_LOCK=0", "", "200", "thunder lock: disabled"),
    ],
    ids=["a long line", "many fields", "buffer-size", "lazy-apps", "thunder-lock"],
)
def test_uwsgi_does_what_its_settings_say(site: Site, change: str, head: str, status: str, said: str) -> None:
    ran = site.stack.exec("app", ["python", "-c", SECOND, head, change])
    assert not ran.returncode, ran.stderr
    answer, code, log = json.loads(ran.stdout)

    assert (answer.removeprefix("HTTP/1.1 "), code) == (status, 0)
    assert re.search(said, log, re.DOTALL), log


@pytest.mark.usefixtures("stack")
@pytest.mark.parametrize("behaviour", [name for name in BEHAVIOURS if name not in COMPOSE_ONLY])
def test_contract(site: Site, behaviour: str) -> None:
    expected: Mapping[str, str] = exceptions(site.server).get(behaviour, {"seen": YES})
    assert BEHAVIOURS[behaviour](site) == expected["seen"]


if "SERVERS" in os.environ:  # the corpus takes a minute and a half through a published port; in CI tests/smuggling/ tries the gateway

    @pytest.mark.usefixtures("stack")
    @pytest.mark.parametrize("site", [pair for pair in PAIRS if pair[0] == "compose"], ids="-".join, indirect=True)
    @pytest.mark.parametrize("behaviour", COMPOSE_ONLY)
    def test_contract_in_containers(site: Site, behaviour: str) -> None:
        test_contract(site, behaviour)


def test_exceptions_name_behaviours() -> None:
    for file in SERVERS.glob("*/exceptions.toml"):
        assert set(exceptions(file.parent.name)) <= set(BEHAVIOURS)


def test_the_table_of_the_docs_is_current() -> None:
    assert PAGE.read_text() == page()
