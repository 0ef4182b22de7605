"""The API's description is true; a fuzzer that believes it is in tests/fuzz."""

import re

import pytest
from pydantic import ValidationError

from kit_app.openapi import document
from kit_app.schemas import NewEntry


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


def test_every_answer_of_the_gateway_is_named() -> None:
    """Whatever is asked: refused by a rule of the firewall, for its method, for its host, for its rate, or without a database."""
    operations = [operation for path in document()["paths"].values() for operation in path.values()]

    assert all({"403", "405", "421", "429", "503"} <= operation["responses"].keys() for operation in operations)
