"""A text of this kit on its way into another project: lines are taken out and values replaced, comments stay."""

import re
from typing import Self


class Draft:
    """A configuration file being changed. A change that finds nothing to change is a mistake in this kit: LookupError."""

    def __init__(self, text: str) -> None:
        self.text = text

    def replace(self, old: str, new: str) -> Self:
        """Replace every `old`."""
        if old not in self.text:
            raise LookupError(f"not in the kit's file any more: {old!r}")
        self.text = self.text.replace(old, new)
        return self

    def drop_lines(self, pattern: str) -> Self:
        """Take out every line in which the regular expression is found."""
        lines = self.text.splitlines(keepends=True)
        kept = [line for line in lines if not re.search(pattern, line)]
        if len(kept) == len(lines):
            raise LookupError(f"no line of the kit's file has {pattern!r}")
        self.text = "".join(kept)
        return self

    def drop_block(self, key: str, *, indent: int = 2) -> Self:
        """Take out the YAML key at this indentation, all that is indented deeper below it, and the comment above it."""
        margin = " " * indent
        block = rf"(?:^{margin}#.*\n)*^{margin}{re.escape(key)}:.*\n(?:^(?:{margin} .*)?\n)*"
        self.text, count = re.subn(block, "", self.text, count=1, flags=re.MULTILINE)
        if not count:
            raise LookupError(f"no block {key!r} in the kit's file")
        return self

    def drop_paragraphs(self, names: str) -> Self:
        """Take out each paragraph (lines between blank ones) of an env file that sets a variable matching `names`."""
        paragraphs = self.text.split("\n\n")
        kept = [paragraph for paragraph in paragraphs if not re.search(rf"^#?(?:{names})=", paragraph, flags=re.MULTILINE)]
        if len(kept) == len(paragraphs):
            raise LookupError(f"no paragraph of the kit's file sets {names}")
        self.text = "\n\n".join(kept)
        return self
