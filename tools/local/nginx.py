"""nginx's configuration for plain processes: the container's own files, at other places and on loopback.

What an old nginx lacks is left out here, and said; the container's files and scripts know nothing of it.
"""

import ipaddress
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
HOST = "127.0.0.1"


def _copied(project: Path, image: str) -> Iterator[tuple[Path, str]]:
    """Yield folder and name of what the Dockerfile of `image` copies out of its own folder and out of the gateway's."""
    text = (project / image / "Dockerfile").read_text().replace("\\\n", " ")
    for shared, words in re.findall(r"^COPY (--from=gateway )?((?!--).*) \S+$", text, re.MULTILINE):
        folder = project / ("nginx" if shared else image)
        for word in words.split():
            yield from ((folder, str(path.relative_to(folder))) for path in folder.glob(word)) if "*" in word else [(folder, word)]


class Edit(NamedTuple):
    """Replace each match of `pattern` (^ and $: of a line) in the files that the glob `files` names; no match is an error."""

    files: str
    pattern: str
    replacement: str


class Nginx(NamedTuple):
    version: tuple[int, ...]
    openssl: tuple[int, ...]
    modules: frozenset[str]
    modules_folder: str

    @classmethod
    def ask(cls, *command: str) -> "Nginx":
        """Ask a program, such as "nginx", or with more words before it one in a container."""
        said = subprocess.run([*command, "-V"], capture_output=True, text=True, check=True).stderr
        nginx, openssl, modules = (
            re.findall(pattern, said) for pattern in (r"nginx/([\d.]+)", r"OpenSSL ([\d.]+)", r"--modules-path=(\S+)")
        )
        listed = subprocess.run([*command[:-1], "ls", *modules], capture_output=True, text=True, check=False).stdout
        return cls(_numbers(nginx[0]), _numbers(openssl[0]), frozenset(listed.split()), modules[0])


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in version.split("."))


def write(
    image: str,
    dest: Path,
    *,
    nginx: Nginx,
    places: Mapping[str, Path],
    edits: Iterable[Edit] = (),
    as_root: bool = False,
    project: Path = ROOT,
) -> list[str]:
    """Write the files that a container of `image` (nginx, waf) has, edited; returns a sentence for each thing that this nginx lacks.

    `places` says where each folder of the container is here, such as /run/nginx. The caller then runs `command`.
    `as_root`: nginx will be started by root; its workers then stay root, as gunicorn does.
    """
    shutil.rmtree(dest, ignore_errors=True)
    for folder, name in _copied(project, image):
        target = dest / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if (folder / name).is_dir():
            shutil.copytree(folder / name, target, dirs_exist_ok=True)
        else:
            shutil.copy(folder / name, target)
    _apply(dest, Edit("templates/**/*", r"^ *listen \$\{(IPV6|QUIC_IPV6)\}:.*\n", ""), optional=True)  # loopback is 127.0.0.1
    for edit in edits:
        _apply(dest, edit)
    notes = _fit(dest, nginx)
    if as_root:
        _apply(dest, Edit("nginx.conf", r"\A", "user root;\n"))
    fixed = {"/etc/nginx": dest, "/docker-entrypoint.d": dest / "docker-entrypoint.d", "/usr/local/bin/certificate": dest / "certificate"}
    _move(dest, {**fixed, **places})
    return notes


def command(dest: Path, *arguments: str) -> list[str]:
    """What fills the templates in, and becomes nginx; with "-t" it only tests. Settings: environment."""
    return ["/bin/sh", str(dest / "docker-entrypoint.sh"), "nginx", "-e", "stderr", "-c", str(dest / "nginx.conf"), *arguments]


def fill(image: str, folder: Path, settings: Mapping[str, str], project: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Write folder/conf as the image has it, with the templates filled in to folder/run/conf, and start nothing."""
    dest = folder / "conf"
    edits = [
        Edit("docker-entrypoint.sh", r'^exec "\$@"', "exit"),
        Edit("nginx.conf", r"^(include /etc/nginx/modules-enabled|load_module )", r"# \1"),  # the same number of lines
    ]
    write(image, dest, nginx=IMAGE, places={"/run/nginx": folder / "run"}, edits=edits, project=project)
    for part in ("18-rules.envsh", "30-certificate.sh", "30-lighten.sh", "40-audit-log.envsh"):  # start something, or need the image
        (dest / "docker-entrypoint.d" / part).unlink(missing_ok=True)
    path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    return subprocess.run(command(dest), env={"PATH": path, **settings}, capture_output=True, text=True, check=False)


def listen(ports: Mapping[int, str | int]) -> list[Edit]:
    """Listeners on loopback, or at an address: by the port in the container."""
    given = {port: f"{HOST}:{here}" if isinstance(here, int) else here for port, here in ports.items()}
    words = r'(\blisten |\bSITE_LISTEN=")(?:\$\{QUIC_ADDRESS\}:)?'
    return [Edit("**/*", rf"{words}{port}\b", rf"\g<1>{here}") for port, here in given.items()]


def servers(upstream: str, addresses: Sequence[str]) -> list[Edit]:
    """An upstream's servers, "address:port" each, in place of its name (earlier copies have no variable). Names are still resolved."""
    file = f"templates/upstream/{upstream}.conf.template"
    named = any(not _is_address(address) for address in addresses)
    lines = "".join(rf"\1server {address}{' resolve' if named else ''}\2\n" for address in addresses)
    edits = [Edit(file, rf"^( *)server (?:\$\{{\w+_HOST\}}|{upstream}):\d+ resolve(.*;)\n", lines)]
    return edits if named else [*edits, Edit(file, r"^ *resolver .*\n", "")]


def _is_address(address: str) -> bool:
    with suppress(ValueError):
        return bool(ipaddress.ip_address(address.rpartition(":")[0].strip("[]")))
    return False


# --- What an old nginx lacks

BROTLI = ("ngx_http_brotli_filter_module.so", "ngx_http_brotli_static_module.so")
# Nothing is left out for this one.
IMAGE = Nginx((1, 30, 6), (3, 5), frozenset(BROTLI), "/usr/lib/nginx/modules")


# (first version that knows it, files, what is written, what instead, what is lost: "" where the old words say the same)
SINCE = (
    ((1, 25, 0), "templates/tls/*", r"^ *(listen .* quic|http3_).*\n", "", ""),
    ((1, 25, 1), "templates/tls/*", r"^( *listen .* ssl)( .*)?;$", r"\1 http2\2;", ""),
    ((1, 25, 1), "docker-entrypoint.d/18-tls.envsh", r'(SITE_LISTEN="\S+ ssl)', r"\1 http2", ""),
    ((1, 25, 1), "templates/tls/*", r"^ *http2 on;\n", "", ""),
    ((1, 27, 3), "templates/upstream/*", r"^ *resolver(_timeout)? .*\n", "", ""),
    ((1, 27, 3), "templates/upstream/*", r"^( *server .*?) resolve\b", r"\1", "resolve: a name is looked up once, at start"),
    ((1, 27, 4), "**/*.*", r"^ *keepalive_min_timeout .*", "", "keepalive_min_timeout: an idle connection may close as the client sends"),
    ((1, 29, 7), "templates/upstream/*", r"^( *)(keepalive_timeout .*)", r"\1keepalive 32;\n\1\2", ""),
    ((1, 29, 7), "**/proxy*", r"^(proxy_set_header Host .*)", r"proxy_http_version 1.1;\n\1", ""),
    ((1, 29, 8), "**/*.*", r"^ *max_headers .*", "", "max_headers: only gunicorn refuses too many header lines (limit_request_fields)"),
)


def _fit(dest: Path, nginx: Nginx) -> list[str]:
    """Take out what this nginx does not know; load the modules that it has."""
    notes = []
    for since, files, pattern, replacement, lost in SINCE:
        if nginx.version < since and _apply(dest, Edit(files, pattern, replacement), optional=True) and lost:
            notes.append(f"left out (nginx {_dots(nginx.version)}, needs {_dots(since)}): {lost}")
    if nginx.openssl < (3, 5):
        _apply(dest, Edit("templates/tls/*", r"\?X25519MLKEM768:", ""), optional=True)
    brotli = Edit("conf.d/*", r"^brotli[^;]*;.*\n", "")
    if not nginx.modules.issuperset(BROTLI) and _apply(dest, brotli, optional=True):
        notes.append("left out (the brotli modules are missing): brotli: text is compressed with gzip only")
    loaded = "".join(f'load_module "{nginx.modules_folder}/{name}";\n' for name in BROTLI if name in nginx.modules)
    _apply(dest, Edit("nginx.conf", r"^include /etc/nginx/modules-enabled/.*\n", loaded), optional=True)
    return notes


def _dots(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


# --- Files


def _apply(dest: Path, edit: Edit, *, optional: bool = False) -> int:
    hits = 0
    for path in (path for path in dest.glob(edit.files) if path.is_file()):
        text, count = re.subn(edit.pattern, edit.replacement, path.read_text(), flags=re.MULTILINE)
        if count:
            path.write_text(text)
        hits += count
    if not hits and not optional:
        raise ValueError(f"nothing in {edit.files} matches {edit.pattern!r}")
    return hits


def _move(dest: Path, places: Mapping[str, Path]) -> None:
    """Write each path of the container as the one here: in quotes in a configuration; the scripts have theirs in quotes."""
    if bad := [str(place) for place in places.values() if re.search(r'["\\$`\x00-\x1f]', str(place))]:
        raise ValueError(f'{bad[0]}: a path without ", \\, $ and ` is needed')
    known = "|".join(re.escape(path) for path in sorted(places, key=len, reverse=True))
    for path in (path for path in dest.rglob("*") if path.is_file()):
        text = path.read_text()
        if path.suffix in {".conf", ".template"}:
            moved = re.sub(rf"(?<=@pmFromFile )({known})", lambda match: str(places[match[1]]), text)  # in quotes already
            unquoted = rf'(?<![\w"/])(?<!@pmFromFile )({known})(?![\w-])([^\s;]*)'
            moved = re.sub(unquoted, lambda match: f'"{places[match[1]]}{match[2]}"', moved)
        else:
            moved = re.sub(rf"(?<![\w/])({known})(?![\w-])", lambda match: str(places[match[1]]), text)
        path.write_text(moved)  # with LF, as in the image, however it was cloned


if __name__ == "__main__":
    # `python -m tools.local.nginx FOLDER`: the gateway's configuration by the settings in the environment, for other programs to read.
    done = fill("nginx", Path(sys.argv[1]).resolve(), os.environ)
    sys.stderr.write(done.stderr)
    sys.exit(done.returncode)
