"""The API's description is true: a fuzzer that believes it finds nothing."""

import re
import subprocess
import sys

import pytest
from pydantic import ValidationError

from kit_app.openapi import document
from kit_app.schemas import NewEntry
from tests.app.conftest import MakeApp, Serve
from tests.app.server import ROOT, environment

EXAMPLES = 10  # of each operation; many more pass nginx in tests/fuzz


@pytest.mark.timeout(600)
def test_a_fuzzer_finds_nothing(make_app: MakeApp, serve: Serve, postgres_url: str) -> None:
    make_app(DATABASE_URL=postgres_url)  # makes the tables
    server = serve(DATABASE_URL=postgres_url)
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", "tests/app/schemathesis.toml"]
    arguments = ["run", f"{server.url}/api/openapi.json", "--max-examples", str(EXAMPLES), "--seed", "1"]

    done = subprocess.run([*command, *arguments], cwd=ROOT, env=environment(), capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout[-5000:]
    assert [line for line in server.lines(message="request") if line["status"] >= 500] == []


@pytest.mark.parametrize("field", ["name", "message"])
@pytest.mark.parametrize("character", [*map(chr, range(0x20)), "\x7f", "\x85", "\xa0", "\u200d", "\u2028", "\u3000", "\ufeff", "x", "😀"])
@pytest.mark.parametrize("frame", ["{}", "a{}", "{}a"])
def test_the_pattern_says_what_is_refused(field: str, character: str, frame: str) -> None:
    schema = document()["components"]["schemas"]["NewEntry"]["properties"][field]
    text = frame.format(character)
    try:
        NewEntry.model_validate({"name": "a", "message": "a", field: text})
        valid = True
    except ValidationError:
        valid = False

    # `$` of Python would let a line break pass at the end; that of JSON Schema does not.
    assert bool(re.search(schema["pattern"].replace("$", r"\Z"), text)) == valid
