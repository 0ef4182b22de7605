"""The budgets of size: what people read before they copy, and the whole. Run by tests/lint; exit code 1 names what is over."""

import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# Files, and the most lines, words and characters in a line; None is no bound.
FILES = [
    ("gunicorn.conf.py", 120, 700, None),
    ("gunicorn_hooks/*.py", 90, None, None),
    ("nginx/**/*.conf", 60, None, 110),
    ("nginx/**/*.template", 60, None, 110),
    ("nginx/docker-entrypoint.d/*", 60, None, 110),
    ("waf/*.conf", 60, None, 110),
    ("waf/conf.d/*.conf", 60, None, 110),
    ("waf/docker-entrypoint.d/*", 60, None, 110),
    ("waf/snippets/*.conf", 60, None, 110),
    ("waf/templates/**/*.template", 60, None, 110),
    ("docker-compose.yml", 200, None, None),
    ("app/kit_app/database.py", 72, None, None),
    ("README.md", 100, None, None),
    ("docs/*.md", 120, None, None),
]
COPY_FILES, COPY_LINES = 50, 2200  # what tools/eject.py writes
TOP_LEVEL = 20  # entries that `ls` shows
HELP = 15  # targets in `make help`
CODE = {
    "app",
    "compose",
    "deploy",
    "docker-compose.yml",
    "gunicorn.conf.py",
    "gunicorn_hooks",
    "loadtest",
    "nginx",
    "servers",
    "tools",
    "waf",
}
CODE_LINES = 15_000
# What is over its budget and known to be, and how much it may be; anything else that is over fails the check.
KNOWN = {("product, tools and load test", "lines"): 22_846}


def tracked() -> list[Path]:
    """The files that are in git, or would be with `git add`."""
    argv = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    return [ROOT / name for name in listed if name and (ROOT / name).is_file()]


def lines(path: Path) -> int:
    return len(path.read_bytes().splitlines())


def over() -> Iterator[tuple[str, str, int, int]]:
    """Yield what is measured, its unit, its size and the budget, for everything that is over it."""
    files = tracked()
    for pattern, most_lines, most_words, most_wide in FILES:
        for path in sorted(set(ROOT.glob(pattern)) & set(files)):
            text = path.read_text()
            sizes = {"lines": (lines(path), most_lines), "words": (len(text.split()), most_words)}
            sizes["characters in a line"] = (max(map(len, text.splitlines()), default=0), most_wide)
            yield from ((str(path.relative_to(ROOT)), unit, size, most) for unit, (size, most) in sizes.items() if most and size > most)
    yield from ((what, unit, size, most) for what, unit, size, most in wholes(files) if size > most)


def wholes(files: list[Path]) -> Iterator[tuple[str, str, int, int]]:
    """Yield the sizes of what is more than one file."""
    copied = copy()
    yield "a copy (make eject)", "files", len(copied), COPY_FILES
    yield "a copy (make eject)", "lines", sum(copied.values()), COPY_LINES
    for room, most in (("kit_app", 950), ("kit_flask", 505)):
        yield f"app/{room}", "lines", sum(lines(path) for path in files if path.match(f"app/{room}/*.py")), most
    top = {path.relative_to(ROOT).parts[0] for path in files}
    yield "the top level", "entries", len([name for name in top if not name.startswith(".")]), TOP_LEVEL
    yield "make help", "targets", len(re.findall(r"^[a-z-]+:.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE)), HELP
    code = [path for path in files if path.relative_to(ROOT).parts[0] in CODE and path.suffix not in {".md", ".txt"}]
    yield "product, tools and load test", "lines", sum(map(lines, code)), CODE_LINES


def copy() -> dict[str, int]:
    """What tools/eject.py writes into an empty project, with the number of lines of each file."""
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder)
        (project / "requirements.txt").write_text("flask\n")
        (project / "site.py").write_text("app = None\n")
        before = set(project.rglob("*"))
        subprocess.run([sys.executable, ROOT / "tools/eject.py", project, "site:app"], check=True, capture_output=True)
        return {str(path.relative_to(project)): lines(path) for path in set(project.rglob("*")) - before if path.is_file()}


if __name__ == "__main__":
    found = [(size <= KNOWN.get((what, unit), 0), f"{what}: {size:,} {unit}, budget {most:,}") for what, unit, size, most in over()]
    print("\n".join(("known: " if known else "OVER: ") + said for known, said in found))
    sys.exit(not all(known for known, _ in found))
