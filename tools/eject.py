"""Copy the kit into another project. Run again, it brings what changed in the kit since, and keeps what was edited there.

make eject DEST=../myservice APP_MODULE=package.module:app [ARGS="--with tls --with sqlite"]
"""

import argparse
import ast
import os
import re
import shlex
import shutil
import sys
import tomllib
from difflib import unified_diff
from hashlib import sha256
from pathlib import Path

KIT = Path(__file__).resolve().parents[1]
COPIED = ["docker-compose.yml", "compose/no-waf.yaml", "gunicorn.conf.py", "gunicorn_hooks", "nginx", ".env.example", "secrets/README.md"]
COPIED += ["app/Dockerfile", "app/Dockerfile.dockerignore", "app/probe.py", "app/make_secrets.py", "requirements/server.txt"]
# What is copied when it is asked for, --with NAME: the overlay compose/NAME.yaml, where there is one, and these files.
WITH: dict[str, list[str]] = {
    **{name: [] for name in ("database", "instance", "no-outbound", "sqlite", "uploads-on-disk")},
    "basic-auth": ["compose/basic-auth.conf.template"],
    "files": ["nginx/snippets/site-files.conf"],
    "health-checks": ["compose/health-checks"],
    "load-balancers": ["nginx/**/*load-balancers*"],
    "maintenance": ["nginx/**/*maintenance*"],
    "metrics": ["compose/metrics", "compose/metrics-database.yaml", "compose/alerts.yaml", "gunicorn_hooks/metrics.py"],
    "microcache": ["compose/microcache.conf.template"],
    "package-static": ["app/collect_static.py"],
    "sticky": ["compose/sticky.conf"],
    "tls": ["compose/http3.yaml", "compose/acme", "nginx/**/*certificate*", "nginx/**/*tls*"],
    "traces": ["compose/traces", "compose/spans.yaml", "gunicorn_hooks/spans.py"],
    "url-prefix": ["nginx/**/*url-prefix*"],
    "waf": ["waf", "nginx/**/*waf*"],
    "websockets": ["nginx/**/*websockets*", "waf/**/*websockets*"],
}
WSGI = 2  # arguments of an application: environ and start_response
# The kit's checksums, as sha256sum writes them: `sha256sum --check --quiet .kit-files` names the files that were edited.
RECORD = ".kit-files"
SETTINGS = """# For docker compose; .env.example documents these and the others.
COMPOSE_PROJECT_NAME={name}
COMPOSE_FILE={compose}
APP_MODULE={module}
APP_SOURCE={source}
APP_REQUIREMENTS={packages}
STATIC_COMMAND={static}
PRELOAD_LIBRARIES=flask
# A path of the application that answers 200 without asking the database.
HEALTH_PATH=/healthz
"""


def folder(text: str) -> Path:
    """Return the project's folder; SystemExit when it is the kit's, as it is without DEST."""
    if Path(text).resolve() == KIT:
        sys.exit("DEST is not given, or is the kit itself: right would be make eject DEST=../myservice APP_MODULE=package.module:app")
    return Path(text).resolve()


def application(text: str, dest: Path) -> tuple[str, str, str]:
    """Return APP_MODULE as gunicorn needs it, its package, and the folder to import that from; SystemExit when it cannot be used."""
    match = re.fullmatch(r"([A-Za-z_][\w.]*):([A-Za-z_]\w*)(\([^#$]*\))?", text)
    if not text:
        sys.exit(f"APP_MODULE is not given: right would be APP_MODULE={os.environ.get('APP') or 'package.module:app'}")
    if not match:
        sys.exit(f"APP_MODULE={text}: right would be package.module:app or package.module:create_app()")
    module, name, call = match.groups()
    package, inside = module.partition(".")[0], module.replace(".", "/")
    source = next((at for at in (".", "src") if (dest / at / package).is_dir() or (dest / at / f"{package}.py").is_file()), None)
    if source is None:
        sys.exit(f"{dest}: right would be a folder with the package or module {package} in it or in its src/")
    file = next((at for at in (dest / source / inside / "__init__.py", dest / source / f"{inside}.py") if at.is_file()), None)
    if file is None:
        sys.exit(f"APP_MODULE={text}: {dest / source} has no {inside}.py and no {inside}/__init__.py")
    try:
        tree = ast.parse(file.read_bytes())
    except SyntaxError as error:
        sys.exit(f"{file}, line {error.lineno}: {error.msg}")
    bound = {getattr(node, "id", None) or getattr(node, "asname", None) or getattr(node, "name", None) for node in ast.walk(tree)}
    if not bound & {name, "*", "__getattr__"}:
        sys.exit(f"APP_MODULE={text}: {file} has no {name}")
    for function in (node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == name and not node.decorator_list):
        given = function.args
        required = [each.arg for each in given.posonlyargs + given.args][: -len(given.defaults) or None]
        required += [each.arg for each, default in zip(given.kwonlyargs, given.kw_defaults, strict=True) if default is None]
        if required and (call == "()" or (not call and len(required) != WSGI)):
            sys.exit(f"APP_MODULE={text}: right would be {module}:{name}({', '.join(required)}), with values in their place")
        call = call or ("" if required or given.vararg else "()")
    return f"{module}:{name}{call or ''}", package, source


def requirements(dest: Path) -> str:
    """Return the name of the list of packages; SystemExit when app/Dockerfile could not install what it names."""
    if (dest / "requirements.txt").is_file():
        check_list(dest, Path("requirements.txt"), set())
        return "requirements.txt"
    file = dest / "pyproject.toml"
    if file.is_file() and "dependencies" in tomllib.loads(file.read_text()).get("project", {}):
        return "pyproject.toml"
    sys.exit(f"{dest}: right would be a folder with requirements.txt, or with a pyproject.toml that has [project] dependencies")


def check_list(dest: Path, name: Path, seen: set[Path]) -> None:
    """Look at a list in the format of pip, and at those that it includes."""
    seen.add(name)
    data = (dest / name).read_bytes()
    lines = data.decode("utf-16" if data[:2] in {b"\xff\xfe", b"\xfe\xff"} else "utf-8").splitlines()
    for number, line in enumerate(lines, 1):
        text = re.sub(r"(^|\s)#.*", "", line).strip()
        wrong = ""
        if (included := re.match(r"(?:-r|-c|--requirement|--constraint)(?: *=? *)(?!\S+://)(\S+)", text)) and "://" not in text:
            other = Path(os.path.normpath(name.parent / included[1]))
            if not (dest / other).is_file():
                wrong = "there is no such file"
            elif other.parts[:-1] not in {(), ("requirements",)} or other.suffix != ".txt":
                wrong = "right is a .txt file beside requirements.txt or in requirements/, which the image gets"
            elif other not in seen:
                check_list(dest, other, seen)
        elif re.search(r"\b(git|hg|svn|bzr)\+", text):
            wrong = "the image has no git; right is an archive, such as https://HOST/OWNER/NAME/archive/COMMIT.tar.gz"
        elif re.match(r"-e|--editable|\.", text) or "file:" in text or ("/" in text and "://" not in text):
            wrong = "the image gets packages before sources; right is what they need: uv pip compile pyproject.toml -o requirements.txt"
        if wrong:
            sys.exit(f"{dest / name}, line {number}: {text}: {wrong}")


def settings(dest: Path, text: str, overlays: list[str]) -> str:
    """Return the project's .env; SystemExit, with what would be right, when APP_MODULE or the project cannot be used."""
    module, package, source = application(text, dest)
    own = f"{package}/static" if (dest / source / package).is_dir() else "static"
    static = f"cp -r {own}/. /srv/static" if (dest / source / own).is_dir() else "true"
    if "package-static" in overlays:  # where the application cannot be imported without its database, its own files
        static = f"{{ python /srv/collect_static.py {shlex.quote(module)} || {static}; }}"
    # Some packages bring .gz files: gzip would keep those, and fail.
    static += " && find /srv/static -type f ! -name '*.gz' -exec gzip -9 --force --keep {} +"
    name = re.sub(r"[^a-z0-9_-]+", "-", dest.name.lower()).strip("-_") or "site"
    names = [*overlays, *([] if "waf" in overlays else ["no-waf"])]
    compose = ":".join(["docker-compose.yml", *(name for name in map("compose/{}.yaml".format, names) if (KIT / name).is_file())])
    return SETTINGS.format(compose=compose, name=name, packages=requirements(dest), module=module, source=source, static=static)


def files_of(patterns: list[str]) -> dict[str, Path]:
    """Return the kit's files that match, and those in the folders that match."""
    tops = (top for pattern in patterns for top in sorted(KIT.glob(pattern)))
    paths = (path for top in tops for path in (sorted(top.rglob("*")) if top.is_dir() else [top]))
    return {str(path.relative_to(KIT)): path for path in paths if path.is_file() and path.suffix != ".pyc"}


def checksum(path: Path) -> str:
    """Return the file's checksum, "" when there is no file."""
    return sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def show(what: str, mine: Path, kits: Path) -> None:
    """Print what happens to a file of the project that is there already, with the lines that differ."""
    if mine.is_file():
        old, new = (path.read_text().splitlines(keepends=True) for path in (mine, kits))
        sys.stdout.writelines([f"{what}\n", *unified_diff(old, new, "yours", "the kit's")])


def set_up(file: Path, mine: str, env: str, overlays: list[str]) -> None:
    """Write a new .env; of one that is there already, say what to add."""
    unused = [name for name in map("compose/{}.yaml".format, overlays) if name not in mine and (KIT / name).is_file()]
    if env and not mine:
        file.write_text(env)
    elif env:
        print(f"{file} was there already and is left alone; write this into it:\n\n{env}")
    elif unused:
        print(f"Add to COMPOSE_FILE in {file}, compose/no-waf.yaml staying the last: {' '.join(unused)}")
    if "package-static" in overlays and mine and "collect_static" not in mine:
        print(f"Begin STATIC_COMMAND in {file} with: python /srv/collect_static.py 'the value of APP_MODULE' &&")
    if "waf" in overlays and "compose/no-waf.yaml" in mine:
        print(f"Take compose/no-waf.yaml out of COMPOSE_FILE in {file}")


def main() -> None:
    """Copy, or change nothing when a file is in the way."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dest", type=folder, help="the folder of your project")
    parser.add_argument("app_module", help="package.module:app or package.module:create_app()")
    parser.add_argument("--overwrite", action="append", default=[], metavar="FILE", help="take the kit's; may be given again")
    parser.add_argument(
        "--with", action="append", default=[], choices=WITH, dest="overlays", help="copy this too, and use it; may be given again"
    )
    given = parser.parse_args()
    dest = given.dest
    mine = (dest / ".env").read_text(errors="replace") if (dest / ".env").exists() else ""
    env = "" if re.search(r"^(?:export )?APP_MODULE=", mine, re.MULTILINE) else settings(dest, given.app_module, given.overlays)
    record = (dest / RECORD).read_text().splitlines() if (dest / RECORD).is_file() else []
    before = {line[66:]: line[:64] for line in record}
    files = {"LICENSE.flask-kit": KIT / "LICENSE", **files_of(COPIED)}
    parts = {name: files_of([f"compose/{name}.yaml", *needs]) for name, needs in WITH.items()}
    left_out = [name for name, part in parts.items() if name not in given.overlays and not part.keys() & before.keys()]
    for part in parts.values():
        files |= part
    for name in left_out:  # a file of two parts needs both
        files = {file: path for file, path in files.items() if file not in parts[name]}

    differs = {name: source for name, source in files.items() if checksum(dest / name) != checksum(source)}
    take = {name for name in differs if name in given.overwrite or checksum(dest / name) == before.get(name, "")}
    in_the_way = differs.keys() - take - before.keys()
    if in_the_way or set(given.overwrite) - files.keys():
        wrong = f"already there: {', '.join(sorted(in_the_way))}" if in_the_way else f"not in the kit: {', '.join(given.overwrite)}"
        sys.exit(f"{dest}: {wrong}; --overwrite FILE takes the kit's file of that name")
    for name, source in differs.items():
        if name in take:
            show(f"updated: {name}", dest / name, source)
            (dest / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, dest / name)
        elif checksum(source) != before[name]:
            show(f"changed in the kit and edited here, so left alone: {name}", dest / name, source)
    for name in before.keys() - files.keys():
        print(f"no longer in the kit, delete it unless it is yours by now: {name}")
    (dest / RECORD).write_text("".join(f"{checksum(source)}  {name}\n" for name, source in files.items()))
    print(f"{len(take)} files were copied to {dest}; docs/eject.md says what your application must do.")
    print("Your settings are in .env there, and it starts with: docker compose up --build --wait")
    set_up(dest / ".env", mine, env, given.overlays)
    if left_out:
        print(f"Left out, until you run this again with --with NAME: {', '.join(left_out)}")
    if "waf" in left_out:
        print("This copy has no web application firewall: what looks like an attack reaches your application. --with waf adds one.")


if __name__ == "__main__":
    main()
