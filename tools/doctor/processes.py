"""The facts as the local runtime's processes give them. Needs the kit's own `stack` package, which a copy may not have."""

import os
import subprocess
from dataclasses import replace
from pathlib import Path

from tools.doctor import application, certificate, firewall, nginx
from tools.doctor.application import Answer, Interpreter, Sources, temporary_folder
from tools.doctor.facts import Environment, Facts, Missing, Nginx
from tools.doctor.units import show_version, version
from tools.doctor.values import CannotRead, Origin, Setting, variable

ANSWER_TIMEOUT_S = 30
# gunicorn reads it when it starts; asked again now, it would give the values of the edited file.
CONF = "gunicorn.conf.py"
NO_CONTAINERS = Missing("the local runtime has no containers")


def facts(root: Path, name: str) -> Facts | Missing:
    """Everything that the running processes of the local stack say, or why there are none."""
    try:
        import psutil

        from tools.stack import StackError, open_stack
    except ImportError:
        return Missing("the local runtime is not part of this copy")
    if not (root / ".run" / name).is_dir():
        return Missing(f"no local stack {name} is running")
    try:
        stack = open_stack("local", name=name, root=root)
        pids = {unit.service: int(unit.id) for unit in reversed(stack.processes())}
        if not {"gateway", "app"} <= pids.keys():
            return Missing(f"no local stack {name} is running")
        gateway, app = psutil.Process(pids["gateway"]), psutil.Process(pids["app"])
        tree = _nginx(stack.nginx_config(), gateway.cmdline(), _environment(gateway.environ(), "nginx, running"), root)
        found = _with_application(tree, app.cmdline(), Path(app.cwd()), app.environ(), root / CONF)
        edited = (root / CONF).stat().st_mtime > app.create_time()
        return replace(found, edited_since=(CONF,) if edited else ())
    except (StackError, psutil.Error, OSError) as error:
        return Missing(f"the processes of {name} cannot be asked: {error}")


def _environment(values: dict[str, str], place: str) -> dict[str, Setting[str]]:
    return {name: variable(name, value, Origin(place)) for name, value in values.items()}


def _relative(path: Path, root: Path) -> str:
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)


def _nginx(dump: str, command: list[str], environment: Environment, root: Path) -> Nginx | Missing:
    # nginx writes "nginx: master process " before the command it was started with.
    binary = next((word for word in " ".join(command).split() if word.endswith("nginx") and os.access(word, os.X_OK)), "nginx")
    said = subprocess.run([binary, "-v"], capture_output=True, text=True, timeout=ANSWER_TIMEOUT_S, check=False)
    number = version(said.stderr)
    with temporary_folder() as folder:
        try:
            main = nginx.unpack_dump(dump, Path(folder))
            tree = nginx.read_tree(main, root=Path(folder), locate=nginx.locate_dumped(Path(folder), lambda path: _relative(path, root)))
        except CannotRead as error:
            return Missing(str(error))
    return Nginx(tree, Setting("nginx", number, show_version(number), Origin(binary), editable=False), environment)


def _located(path: Path, line: int) -> Origin:
    return Origin(str(path), line)


def _ask(command: list[str], interpreter: Interpreter) -> Answer | Missing:
    """Ask with gunicorn's own arguments: [python, -m, gunicorn, arguments...]."""
    start = next((at for at, word in enumerate(command, 1) if word.endswith("gunicorn")), None)
    if start is None:  # setproctitle has replaced the command by a title
        return Missing("the command of the running gunicorn cannot be seen")
    try:
        return interpreter.ask({"argv": command[start:], "pretend": None, "ask": True})
    except CannotRead as error:
        return Missing(str(error))


def _with_application(tree: Nginx | Missing, command: list[str], cwd: Path, environment: dict[str, str], conf: Path) -> Facts:
    place = "gunicorn, running"
    settings = _environment(environment, place)
    answer = _ask(command, Interpreter(command[:1], cwd, environment))
    sources = Sources(conf.name, application.assigned_lines(conf.read_text()), settings)
    return Facts(
        source="running",
        runtime="local",
        nginx=tree,
        gunicorn=answer if isinstance(answer, Missing) else application.gunicorn(answer, sources),
        compose=NO_CONTAINERS,
        app=answer if isinstance(answer, Missing) else application.flask(answer, place, settings),
        database=answer if isinstance(answer, Missing) else application.database(answer),
        waf=tree if isinstance(tree, Missing) else firewall.from_tree(tree.tree, firewall.read_file, _located),
        certificate=tree if isinstance(tree, Missing) else certificate.on_this_machine(conf.parent, tree.environment),
    )
