"""The settings that docs/moving.md gives in the place of other servers' are there."""

import re

from gunicorn.config import KNOWN_SETTINGS

from tests.budgets import ROOT


def test_every_setting_in_the_last_column_is_there() -> None:
    rows = re.findall(r"^\| .+ \| (.+) \|$", (ROOT / "docs/moving.md").read_text(), re.MULTILINE)
    words = [word for row in rows for word in re.findall(r"`(--[a-z-]+|[A-Z_]+)(?=[=*`])", row)]
    arguments = {argument for setting in KNOWN_SETTINGS for argument in setting.cli or ()}
    variables = set(re.findall(r"^#?([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))

    assert len(words) > 12
    assert set(words) - arguments - variables == set()
