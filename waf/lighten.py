"""Writes the rules that rules/main.conf names once more, so that they answer the same and cost less (docs/waf.md).

lighten.py MAIN.conf FOLDER: writes FOLDER/main.conf and what it includes.
No expression is changed. What goes:

- what a constant decides: rules above WAF_PARANOIA, defaults of settings that are given, variables that no rule reads;
- asking rules that cannot match: an expression is taken apart into texts of which every match holds at least one.
  Rules stand together, behind one jump over all of them, which a request takes when none of its values holds one of those texts, nor a
  character that a rule's transformations would change. A rule is moved there only where its place does not matter (Effects).

A rule that is not understood here is asked always. A gate that fails (its expression, a jump over its questions) lets its rules be asked.
"""

import re
import shutil
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import count, groupby, pairwise
from pathlib import Path
from re import _constants, _parser
from typing import Any

# --- What a value must hold for an expression to match it --------------------------------------------------------------

Texts = frozenset[bytes]
BYTES = frozenset(range(256))
SPACES, HIGH = b" \t\n\r\f\v", bytes(range(0x80, 0x100))
# How many texts an expression may be multiplied out to, and how much of a text is looked for: every part of it is as good.
MANY, LENGTH, SHORT = 2048, 9, 8
# What Python's parser reads otherwise than PCRE does, without an error: classes by name, \v, {,n}, options that change the reading.
OTHERWISE = re.compile(r"\[([:.=])[^\]]*\1\]|(?<!\\)(?:\\\\)*\\v|\{,|\(\?[a-zA-Z]*[aLu]|(?<!^)\(\?[a-zA-Z]*x|%\{")

# Signs of ordinary values: of arguments and cookies, of a body of JSON, of addresses and single headers, and of any header.
COMMON = {"value": b"_.-@, ", "json": b'_.-@, "{}[]:', "address": b"_.-@, /:;()", "header": b"_.-@, /:;()=+*"}
SHARES = dict(zip(b"\n!?':;\"/=&", (0.01, 0.03, 0.03, 0.02, 0.02, 0.02, 0.02, 0.05, 0.005, 0.002), strict=True))
LESS = dict.fromkeys([*range(0x20), *HIGH], 0.0000001) | SHARES


@cache
def rarity(text: bytes, place: str) -> float:
    """About how often a text is found in an ordinary value, only to choose between proofs."""
    found = 100.0
    for number, byte in enumerate(text):
        if bytes([byte]).isalnum():
            found *= 0.08
        elif byte in text[:number]:
            found *= 0.01
        elif byte not in COMMON[place]:
            found *= LESS.get(byte, 0.001)
    # Prose has short words.
    return max(found, 0.3 if text.isalpha() and len(text) <= SHORT else 1 if text in b"https://www." else 0)


def cost(texts: Texts, place: str) -> float:
    return sum(rarity(text, place) for text in texts)


def window(text: bytes, place: str) -> bytes:
    """The rarest part of a text that is no longer than LENGTH."""
    parts = [text[start : start + LENGTH] for start in range(max(1, len(text) - LENGTH + 1))]
    return min(parts, key=lambda part: rarity(part, place))


class Proof:
    """Takes expressions apart. Letters are compared without case, and a space is never looked for: transformations make them."""

    def __init__(self, place: str) -> None:
        self.place = place

    def of(self, expression: str) -> Texts | None:
        """Texts of which each match holds at least one; None when there is no such proof."""
        if OTHERWISE.search(expression):
            return None
        try:
            whole, part = self.sequence(_parser.parse(expression))
        except (re.error, ValueError, RecursionError, OverflowError):
            return None
        return self.rarer(part, whole)

    def rarer(self, one: Texts | None, other: Texts | None) -> Texts | None:
        """Two proofs: the one that ordinary values meet less often. The empty text proves nothing."""
        proofs = [shortest(proof) for proof in (one, other) if proof is not None and b"" not in proof]
        return min(proofs, key=lambda proof: cost(proof, self.place), default=None)

    def sequence(self, items: Any) -> tuple[Texts | None, Texts | None]:
        """All that a sequence can match (None: too much to list), and its best proof."""
        whole, part, complete = frozenset([b""]), None, True
        for op, value in items:
            texts, proof = self.node(op, value)
            part = self.rarer(part, proof)
            if texts is not None and len(texts) * len(whole) <= MANY:
                whole = frozenset(one + other for one in whole for other in texts)
            else:
                complete, part = False, self.rarer(part, whole)
                whole = frozenset([b""]) if texts is None else texts
        return (whole if complete else None), self.rarer(part, whole)

    def node(self, op: Any, value: Any) -> tuple[Texts | None, Texts | None]:
        """The same for one part of a sequence."""
        if op in (_constants.AT, _constants.ASSERT, _constants.ASSERT_NOT):
            # What is looked ahead or back for is in the value as well.
            whole, part = self.sequence(value[1]) if op is _constants.ASSERT else (None, None)
            return frozenset([b""]), self.rarer(part, whole)
        if op is _constants.LITERAL or op is _constants.IN:
            chars = members([(op, value)] if op is _constants.LITERAL else value)
            texts = frozenset(bytes([char]).lower() for char in chars)
            return (texts if 0 < len(texts) <= MANY and ord(" ") not in chars else None), None
        if op is _constants.SUBPATTERN or op is _constants.ATOMIC_GROUP:
            return self.sequence(value[3] if op is _constants.SUBPATTERN else value)
        if op is _constants.BRANCH:
            found = [self.sequence(branch) for branch in value[1]]
            parts, wholes = {self.rarer(part, whole) for whole, part in found}, {whole for whole, _ in found}
            whole, part = (None if None in each else frozenset().union(*filter(None, each)) for each in (wholes, parts))
            return (whole if whole is not None and len(whole) <= MANY else None), part
        if op in (_constants.MAX_REPEAT, _constants.MIN_REPEAT, _constants.POSSESSIVE_REPEAT):
            low, high, items = value
            whole, part = self.sequence(list(items) * min(max(low, 1), 2))  # what comes twice comes side by side
            once = whole if high == 1 else None
            return (once, self.rarer(part, whole)) if low else (once | {b""} if once is not None else None, None)
        return None, None  # any character, references and whatever else there is: no proof


def shortest(texts: Texts) -> Texts:
    """Without those that hold another one of them."""
    found: set[bytes] = set()
    for text in sorted(texts, key=len):
        if not any(text[start:end] in found for start in range(len(text)) for end in range(start + 1, len(text) + 1)):
            found.add(text)
    return frozenset(found)


def members(items: Any) -> set[int]:
    """The bytes of a class, in both cases."""
    found: set[int] = set()
    for op, value in items:
        if op is _constants.LITERAL:
            found.add(value)
        elif op is _constants.RANGE:
            found |= set(range(value[0], value[1] + 1))
        elif op is _constants.CATEGORY:
            kind = str(value).removeprefix("CATEGORY_").split("_")
            sign = {"DIGIT": rb"\d", "SPACE": rb"\s", "WORD": rb"\w"}[kind[-1]]
            found |= {byte for byte in BYTES if bool(re.match(sign, bytes([byte]))) != ("NOT" in kind)}
        elif op is not _constants.NEGATE:
            raise re.error("unknown")
    if any(op is _constants.NEGATE for op, _ in items):
        return set(BYTES - found)
    return found | {ord(chr(byte).swapcase()) for byte in found if byte not in HIGH}


COMMENT, PATH, JOINED = (b"/", b"*"), [(b"/", b"/."), (b".", b"/")], (SPACES + b"+,;", b"/(")
# A value with none of these characters, and none of these two side by side, comes out as it went in, but for the case of letters and for
# spaces: "+" and comments may become one, and several may become one. Other transformations: no proof.
CHANGES: dict[str, tuple[bytes, list[tuple[bytes, bytes]]]] = {
    **dict.fromkeys(("lowercase", "compressWhitespace", "replaceComments", "trim"), (b"", [])),
    **dict.fromkeys(("urlDecode", "urlDecodeUni"), (b"%", [])),
    "htmlEntityDecode": (b"&", []),
    **dict.fromkeys(("jsDecode", "cssDecode", "escapeSeqDecode"), (b"\\", [])),
    "removeNulls": (b"\0", []),
    "utf8toUnicode": (HIGH + b"\0", []),
    **dict.fromkeys(("normalizePath", "normalisePath"), (b"", PATH)),
    **dict.fromkeys(("normalizePathWin", "normalisePathWin"), (b"\\", PATH)),
    "cmdLine": (b"\"'\\^", [JOINED, COMMENT]),
    "removeWhitespace": (SPACES + b"+\xa0\xc2", [COMMENT]),
}
# utf8toUnicode and urlDecodeUni make of each letter the last byte of its number: these become no sign of ASCII but control characters.
HARMLESS = r"\xc3[\x80-\xbf]|\xe2\x80[\x90-\x9f]"
CONTROLS = bytes(range(0x10, 0x20))


class Need:
    """What a value must hold for any of some rules to match it."""

    def __init__(self, units: "Iterable[Unit]", place: str) -> None:
        self.texts: set[bytes] = set()
        self.pairs: set[tuple[bytes, bytes]] = set()
        self.harmless = True
        for unit in units:
            texts, names = (proofs(unit) or {})[place], transformations(unit) or []
            self.texts |= texts | {bytes([sign]) for name in names for sign in CHANGES[name][0]}
            # What goes before a slash or a bracket makes only a text that has one after another character.
            inside = set(b"".join(text[1:] for text in texts)) & set(b"/(")
            pairs = {pair for name in names for pair in CHANGES[name][1]}
            self.pairs |= {pair for pair in pairs if ("replaceComments" in names if pair == COMMENT else pair in PATH or inside)}
            if "utf8toUnicode" in names:
                decoded = "urlDecodeUni" in names[names.index("utf8toUnicode") :]
                self.harmless &= decoded and not {"cmdLine", "removeWhitespace"} & set(names) and not unit.map_file
            self.harmless &= not any(set(text) & set(HIGH + CONTROLS) for text in texts)

    def expression(self) -> str:
        """Matches a value that holds nothing of it: a gate asks with "!", so what fails, such as an expression too large, opens it."""
        single = members([(_constants.LITERAL, text[0]) for text in self.texts if len(text) == 1])
        longer = sorted(text for text in self.texts if len(text) > 1 and not set(text) & single)
        pairs = [f"{chars(first)}{chars(second)}" for first, second in sorted(self.pairs)]
        starts = {text[0] for text in longer} | {byte for first, _ in self.pairs for byte in first}
        starts = members([(_constants.LITERAL, byte) for byte in starts]) - single
        looked_at = f"|(?!{'|'.join([trie(longer), *pairs])}){chars(starts)}" if starts else ""
        harmless = f"|{HARMLESS}" if self.harmless and single.issuperset(HIGH) else ""
        return rf"\A(?i:{chars(single | starts, negated=True)}++{looked_at}{harmless})*+\z"

    def in_json(self) -> "Need | None":
        """What a body of JSON must hold for one of its values or names to hold this; None where each body does.

        Without a backslash values and names stand there as they are, but that a name is of parts: json.items.array_0.name. What has a dot
        may be of several, so the longest part is looked for; "json" and "array_0" themselves may stand nowhere.
        """
        need = Need((), "value")
        parts = {max(text.split(b"."), key=len) for text in self.texts}
        parts |= {bytes([byte]) for pair in self.pairs if b"." in b"".join(pair) for byte in b"".join(pair).replace(b".", b"")}
        if any(part in b"json" or part.strip(b"0123456789") in b"array_" or part in b'"{}[]:,' for part in parts):
            return None
        need.texts, need.pairs = parts | {b"\\"}, {pair for pair in self.pairs if b"." not in b"".join(pair)}
        need.harmless = self.harmless
        return need


def chars(found: set[int] | bytes, *, negated: bool = False) -> str:
    return f"[{'^' if negated else ''}{''.join(escape(byte) for byte in sorted(found))}]"


def escape(byte: int) -> str:
    return chr(byte) if chr(byte).isascii() and chr(byte).isalnum() else f"\\x{byte:02x}"


def trie(texts: list[bytes]) -> str:
    """An expression for any of the texts that tries each beginning once."""
    if not texts:
        return "(?!)"
    heads = defaultdict(list)
    for text in texts:
        heads[text[:1]].append(text[1:])
    parts = []
    for head, rests in heads.items():
        rest = "" if b"" in rests else trie(rests)  # the shortest is enough
        parts.append(escape(head[0]) + (f"(?:{rest})" if "|" in rest else rest))
    return "|".join(parts)


# --- The rules as they are written -------------------------------------------------------------------------------------

WORD = re.compile(r'"((?:\\.|[^"\\])*)"|(\S+)', re.DOTALL)
ACTION = re.compile(r"\s*(!?\w+)(?:[:=]('(?:\\.|[^'\\])*'|[^,]*))?\s*(?:,|$)", re.DOTALL)
TARGET = re.compile(r"[!&]?\w+(?::(?:'[^']*'|/(?:\\.|[^/\\])+/(?=\||$)|[^|]*))?")
READ = re.compile(r"%\{tx\.([^}]+)}|(?<![\w.])TX(?::(/[^/]+/|[^|\s\"',]+))?(?![\w.:])", re.IGNORECASE)
# Scores stay variables, for rules of the user's that add them.
CONSTANT = re.compile(r"%\{(tx\.(?!\w+_score})\w+)}", re.IGNORECASE)
COLLECTION = re.compile(r"(?<!var:)(?<!var:')(?<![\w.:])(?:ip|global|session|user|resource)[.:]", re.IGNORECASE)
# Actions without an effect of their own on a rule that passes and does not log.
IDLE = {"id", "phase", "pass", "nolog", "noauditlog", "t", "ver", "rev", "msg", "severity", "tag"}
# The same for the first rule of a chain, which acts only when the whole chain matches.
QUIET_LINK = {"chain", "log", "auditlog", "logdata", "deny", "block", "drop", "status"}


class Link:
    """One rule of a chain."""

    def __init__(self, targets: str, operator: str, actions: str) -> None:
        self.targets = TARGET.findall(targets)
        self.operator = operator.replace('\\"', '"')
        self.actions = [(name, value.strip("'")) for name, value in ACTION.findall(actions)]

    def all(self, name: str) -> list[str]:
        return [value for found, value in self.actions if found == name]

    def sets(self) -> dict[str, str]:
        """The variables of the collection TX that it sets."""
        pairs = ((name.lower().lstrip("!"), value) for name, _, value in (value.partition("=") for value in self.all("setvar")))
        return {name: value for name, value in pairs if name.startswith("tx.")}


class Unit:
    """One directive, or a rule with what is chained to it."""

    def __init__(self, file: Path, text: str) -> None:
        self.file, self.text, self.before = file, "", ""
        self.links: list[Link] = []
        self.effects: list[tuple[str, str]] = []
        # Whether it matches every request, or none; None: that depends on the request.
        self.decided: bool | None = None
        self.user, self.gone, self.changed, self.map_file = file.name.startswith("user-"), False, False, False
        self.values: dict[str, str] = {}  # of variables that no request changes, where it stands
        self.add(text)

    def add(self, text: str) -> None:
        self.text += text
        self.words = [one or other for one, other in WORD.findall(text.replace("\\\n", ""))]
        if self.words[0] == "SecRule":
            self.links.append(Link(*[*self.words[1:], ""][:3]))
        elif self.words[0] == "SecAction":
            self.links.append(Link("", "", self.words[1]))

    @property
    def phase(self) -> int:
        """0: no rule of the request's two phases."""
        return {"1": 1, "2": 2, "request": 2}.get(([*self.links[0].all("phase"), "2"])[0], 0) if self.links else 0

    @property
    def id(self) -> int:
        return int(([*self.links[0].all("id"), "0"])[0]) if self.links else 0

    @property
    def names(self) -> set[str]:
        """Of the first link's actions."""
        return {name for name, _ in self.links[0].actions}

    @property
    def tags(self) -> set[str]:
        return set(self.links[0].all("tag")) if self.links else set()

    def reads_matches(self) -> bool:
        """The engine clears MATCHED_VARS where a rule does not match, so a chain sees what the rules right before it matched as well."""
        return any(target.lstrip("&!").startswith("MATCHED_VAR") for link in self.links[1:] for target in link.targets)

    def sets_or_inits(self) -> list[tuple[str, str]]:
        return [(name, value) for name, value in self.links[0].actions if name in ("setvar", "initcol")]

    def jump(self) -> str | None:
        """The marker it jumps to; "?" for somewhere else."""
        actions = (action for link in self.links for action in link.actions)
        return next((value if name == "skipAfter" else "?" for name, value in actions if name in ("skipAfter", "skip", "allow")), None)


def read(file: Path) -> list[Unit]:
    """A file and what it includes. Line numbers of the user's own files stay true, so these are included, not written anew."""
    units: list[Unit] = []
    text, chained = "", False
    for line in file.read_text(encoding="latin-1").splitlines(keepends=True):
        if not text and (not line.strip() or line.lstrip().startswith("#")):
            continue
        text += line if line.endswith("\n") else f"{line}\n"
        if text.endswith("\\\n") or re.sub(r"\\.", "", text, flags=re.DOTALL).count('"') % 2:
            continue  # an expression may have several lines
        if chained:
            units[-1].add(text)
        elif text.split()[0] == "Include":
            included = file.parent / text.split()[1].strip('"')
            # One of the user's may be empty now, and not at the next reload: it is there as a directive without an effect.
            units += [Unit(included, "SecMarker KIT-USER\n")] if included.name.startswith("user-") else []
            units += read(included)
        else:
            units.append(Unit(file, text))
        chained = bool(units and units[-1].links and units[-1].links[-1].all("chain"))
        text = ""
    return units


# --- What is decided before a request comes ----------------------------------------------------------------------------


def ids(words: Iterable[str]) -> set[int]:
    """Numbers and ranges of numbers, as SecRuleRemoveById has them."""
    found = (re.findall(r"\d+", part) for word in words for part in re.findall(r"\d+(?:-\d+)?", word))
    return {number for ends in found for number in range(int(ends[0]), int(ends[-1]) + 1)}


def directives(units: list[Unit]) -> None:
    """Take out what is taken out of every request; what gets more targets or other actions is asked as it is."""
    map_file = any(unit.words[0] == "SecUnicodeMapFile" for unit in units)  # changes decoding
    for unit in units:
        unit.map_file, name, what = map_file, unit.words[0], unit.words[1:]
        removes = name.startswith("SecRuleRemove")
        if not removes and not name.startswith("SecRuleUpdate"):
            continue
        words = what if removes else what[:1]
        numbers, tags = ids(words if name.endswith("ById") else ()), {*(words if name.endswith("ByTag") else ())}
        by_msg = name.endswith("ByMsg")
        meant = [other for other in units if other.links and (other.id in numbers or other.tags & tags or by_msg)]
        targets = [target for word in what[1:] for target in re.split(r"[|,]", re.sub(r"'[^']*'|/(?:\\.|[^/\\])*/", "", word))]
        if removes and not unit.user and not by_msg:
            unit.gone = not any(other.user for other in meant)
            for other in meant:
                other.gone = not other.user
        elif name == "SecRuleUpdateActionById" or (not removes and not all(target.startswith("!") for target in targets)):
            for other in meant:
                other.changed = True


class Constants:
    """Follows the variables that no request changes through the rules, and marks what they decide."""

    def __init__(self, units: list[Unit]) -> None:
        self.units = units
        self.changing = {name for unit in units if unit.phase != 1 or unit.user for link in unit.links for name in link.sets()}
        # What the user's own files may take out of some requests, or of all.
        removed = [unit.words for unit in units if unit.user and unit.words[0].startswith("SecRuleRemove")]
        self.removed = ids([word for words in removed for word in words[1:]]), {word for words in removed for word in words[1:]}

    def decide(self) -> None:
        """Again as long as a variable turns out to follow from requests."""
        while (found := self.follow()) - self.changing:
            self.changing |= found
        for unit in (unit for unit in self.units if not unit.user):
            unit.text = CONSTANT.sub(lambda found, values=unit.values: self.value(found, values), unit.text)  # type: ignore[misc]

    def value(self, found: re.Match[str], values: dict[str, str]) -> str:
        """A variable that no request changes, put in where it reads the same in an expression as in quotes."""
        name = found[1].lower()
        value = "" if self.changes(name) else values.get(name, "")
        return value if re.fullmatch(r"[\w ./|-]+", value) else found[0]

    def follow(self) -> set[str]:
        values: dict[str, str] = {}
        found: set[str] = set()
        self.numbers, self.tags = (set(part) for part in self.removed)
        for unit in self.units:
            unit.decided = None
        for phase in (1, 2):
            until, unsure = "", set()
            for unit in self.units:
                if unit.words[0] == "SecMarker":
                    until = "" if until == unit.words[1] else until
                    unsure.discard(unit.words[1])
                if unit.phase != phase or unit.gone:
                    continue
                jump, unit.values = unit.jump(), values.copy()
                unit.decided = False if until else None if unsure or unit.user else self.answer(unit, values)
                if unit.decided and jump:
                    until = jump
                elif unit.decided:
                    given = unit.links[0].sets().items()
                    values |= {name: expand(value, values) for name, value in given if not self.changes(name)}
                elif unit.decided is None:
                    sets = [pair for link in unit.links for pair in link.sets().items()]
                    # What a variable is already changes nothing.
                    found |= {name for name, value in sets if expand(value, values) != values.get(name)}
                    unsure |= {jump} if jump else set()
                    what = [value.partition("=")[2] for link in unit.links for value in link.all("ctl") if "emove" in value]
                    self.numbers |= ids(what)
                    self.tags.update(what)
        return found

    def answer(self, unit: Unit, values: dict[str, str]) -> bool | None:
        """Whether a rule matches; None when that depends on the request, or when it does more than set variables and jump."""
        link = unit.links[0]
        plain = len(unit.links) == 1 and unit.names <= {*IDLE, "setvar", "skipAfter", "initcol"} and "!" not in "".join(link.all("setvar"))
        # Some requests may go without it.
        plain = plain and unit.id not in self.numbers and not unit.tags & self.tags
        if unit.words[0] == "SecAction":
            return True if plain else None
        matches = self.matches(link, values)
        if len(unit.links) > 1 and unit.names <= {*IDLE, *QUIET_LINK}:
            # The first link of a chain has no effect of its own: the chain matches when all do.
            matches = False if any(self.matches(other, values) is False for other in unit.links) else matches
        return matches and (True if plain else None)

    def matches(self, link: Link, values: dict[str, str]) -> bool | None:
        operator = re.fullmatch(r"(!?)@(eq|lt|le|gt|ge) (\S+)", link.operator)
        target = re.fullmatch(r"(&?)TX:([a-z]\w*)", "|".join(link.targets), re.IGNORECASE)
        if not operator or not target or self.changes(name := f"tx.{target[2].lower()}"):
            return None
        limit = expand(operator[3], values)
        if not target[1] and name not in values:
            return False
        value = str(int(name in values)) if target[1] else values[name]
        if not (value.isdecimal() and limit.isdecimal()):
            return None
        return bool(getattr(int(value), f"__{operator[2]}__")(int(limit))) != bool(operator[1])

    def changes(self, name: str) -> bool:
        """Variables whose name follows from the request (paramcounter_%{...}) may be this one; nginx sets one of the kit's (60-...)."""
        return name == "tx.kit_self_test" or any(
            name == one or ("%" in one and name.startswith(one.partition("%")[0])) for one in self.changing
        )


def expand(text: str, values: dict[str, str]) -> str:
    """With the values of variables put in; "?" where one is not known."""
    return re.sub(r"%\{([^}]+)}", lambda found: values.get(found[1].lower(), "?"), text)


def simplify(units: list[Unit]) -> None:
    """Take out what never matches and what only sets what no rule reads, and make one action of those that follow each other."""
    for unit in units:
        unit.gone |= not unit.user and (unit.decided is False or bool(unit.decided and unit.jump()))
    first = (unit for unit in units if unit.phase == 1 and not unit.gone)
    for run in (list(run) for decided, run in groupby(first, lambda unit: unit.decided) if decided):
        run[0].effects = [pair for unit in run for pair in unit.sets_or_inits()]
        for unit in run:
            unit.gone, unit.text = unit is not run[0], ""
    # In the other phase each by itself: a question that matches costs the most.
    later = [unit for unit in units if unit.phase == BODY and not unit.gone]
    for unit in (unit for unit in set(later) - near(later) if unit.decided):
        unit.effects = unit.sets_or_inits()
    while drop_unread(units):
        pass
    for unit in (unit for unit in units if unit.effects):
        parts = [
            f"id:{unit.id},phase:{unit.phase},pass,nolog,t:none",
            *(f"{name}:{value}" if name == "initcol" else f"{name}:'{value}'" for name, value in unit.effects),
        ]
        unit.text = 'SecAction "' + ",\\\n    ".join(parts) + '"\n'


def drop_unread(units: list[Unit]) -> bool:
    """Take out variables that no rule reads; whether there were any."""
    texts = "\n".join(text for unit in units if not unit.gone for text in (unit.text, *(value for _, value in unit.effects)))
    named = [found.lower() for one in READ.finditer(texts) for found in [one[1] or (one[2] or "/.*/").strip("'")]]
    exact, patterns = set(named), [name.strip("/") for name in named if name.startswith("/")]
    collections = bool(COLLECTION.search(texts))

    def is_read(name: str, value: str) -> bool:
        variable = value.partition("=")[0].lower()
        if name == "initcol" or not variable.startswith("tx."):
            return collections
        return variable[3:] in exact or any(re.search(pattern, variable[3:]) for pattern in patterns)

    dropped = False
    for unit in (unit for unit in units if not unit.gone and not unit.user and len(unit.links) == 1):
        effects = [one for one in unit.effects if is_read(*one)]
        if unit.effects:
            dropped |= len(effects) < len(unit.effects)
            unit.effects, unit.gone = effects, not effects
        elif unit.decided is None and unit.phase and {"pass", "nolog", "setvar"} <= unit.names <= {*IDLE, "setvar"}:
            unit.gone = not any(is_read("setvar", value) for value in unit.links[0].all("setvar"))
            dropped |= unit.gone
    return dropped


# --- Gates: rules that are asked together, or not at all ---------------------------------------------------------------

# What the client sends: it does not change between a gate and its rules.
PLACES = {
    "value": r"(?:ARGS(?:_GET|_POST)?(?:_NAMES)?|REQUEST_COOKIES(?:_NAMES)?|FILES(?:_NAMES)?|XML)(?::|$)",
    "address": r"REQUEST_HEADERS:|(?:REQUEST_(?:URI|URI_RAW|FILENAME|BASENAME|LINE)|QUERY_STRING)$",
    "header": r"REQUEST_HEADERS(?:_NAMES)?$",
}
QUIET = "nolog,noauditlog,pass,t:none"
# Never matches, and so clears what the rules before it matched.
CLEAR = f'SecRule REQUEST_METHOD "@streq -" "id:{{}},phase:2,{QUIET}"\n'
# A body of JSON without arguments beside it, and else a text that holds what each rule needs (Need.in_json).
JSON = f"""SecAction "id:{{}},phase:2,{QUIET},setvar:'tx.kit_json=\\\\'"
SecRule REQBODY_PROCESSOR "@streq JSON" "id:{{}},phase:2,{QUIET},chain"
    SecRule &ARGS_GET "@eq 0" "t:none,setvar:'tx.kit_json=%{{{{REQUEST_BODY}}}}'"
"""
NEAR = 3  # rules before a chain that reads what matched before it
BODY = 2  # the phase after the body was read, in which nearly all rules are
# Actions of rules that others may be moved past.
MOVES = IDLE | {"chain", "log", "auditlog", "logdata", "capture", "block", "setvar", "ctl", "multiMatch", "expirevar", "skipAfter"}
MANY_RULES = 8  # that a jump is worth
# In per cent of ordinary values: a proof that they meet more often is none; rules that they meet more seldom.
OFTEN, SELDOM = 7.9, 0.55


def place_of(target: str) -> str:
    return next((name for name, pattern in PLACES.items() if re.match(pattern, target)), "")


def operands(unit: Unit, place: str) -> Texts | None:
    """What a value of this place must hold, after the rule's transformations, for the rule to match."""
    operator, _, argument = unit.links[0].operator.strip().partition(" ")
    if not operator.startswith("@"):
        operator, argument = "@rx", unit.links[0].operator
    if operator == "@rx":
        return Proof(place).of(argument)
    if operator == "@pm" and not set(argument) & set('|\\"') and "%{" not in argument:
        phrases = argument.split()
    elif operator == "@validateByteRange" and (bounds := re.fullmatch(r"(\d+)-(\d+)", argument)):
        return frozenset(bytes([byte]).lower() for byte in BYTES if not int(bounds[1]) <= byte <= int(bounds[2]))
    elif operator in ("@pmf", "@pmFromFile") and "://" not in argument:
        lines = (unit.file.parent / argument.strip()).read_text(encoding="latin-1").splitlines()
        phrases = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    else:
        return None
    found = [max(phrase.lower().encode("latin-1").split(b" "), key=len) for phrase in phrases]
    return frozenset(found) if all(found) else None


def transformations(unit: Unit) -> list[str] | None:
    """Those of a rule, when it names all of them itself and this file knows them."""
    found = unit.links[0].all("t")
    if found[:1] != ["none"] or "none" in found[1:]:
        return None
    return found[1:] if all(name in CHANGES for name in found[1:]) else None


@cache
def proofs(unit: Unit) -> dict[str, Texts] | None:
    """By place what a rule needs; None when it is always asked."""
    link = unit.links[0] if unit.words[0] == "SecRule" else None
    if not link or unit.user or unit.changed or transformations(unit) is None or link.operator.startswith("!"):
        return None
    found: dict[str, Texts] = {}
    for target in link.targets:
        place = place_of(target.lstrip("!"))
        if place and place not in found:
            for one in (place, "json") if place == "value" else (place,):
                texts = operands(unit, one)
                found[one] = shortest(frozenset(window(text, one) for text in texts)) if texts else frozenset([b""])
        if not place or b"" in found[place]:
            return None
    return found


def kind(unit: Unit) -> str:
    """Rules that are asked about equally often: headers have other signs than values; prose has words and quotes; few values have signs."""
    found = {place: cost(frozenset(Need([unit], place).texts), place) for place in proofs(unit) or {} if place != "json"}
    if set(found) <= {"address"} or max(found.values()) >= OFTEN:  # an address is asked about as fast
        return ""
    if "header" in found:
        return "headers"
    return "signs" if max(found.values()) < SELDOM else "words"


def free(units: list[Unit], asked: set[Unit]) -> list[Unit]:
    """Those of these rules that can all be asked where the last of them is: they only add to scores, and what is between does not mind."""
    rules = [unit for unit in units if unit.phase == BODY and not unit.gone]
    written = {name.removeprefix("tx.") for unit in rules for link in unit.links for name in link.sets()}
    found: dict[Unit, int] = {}
    markers: dict[str, int] = {}
    removed: set[str] = set()
    for number, unit in reversed(list(enumerate(units))):
        markers |= {unit.words[1]: number} if unit.words[0] == "SecMarker" else {}
        if unit.phase != BODY or unit.gone:
            continue
        if jump := unit.jump():
            found = {one: at for one, at in found.items() if at > markers.get(jump, len(units))}
        names = {name for link in unit.links for name, _ in link.actions}
        text = "|".join(part for link in unit.links for part in (*link.targets, link.operator, *link.all("setvar")))
        variables = {(one[1] or one[2] or "any score").strip("'").lower() for one in READ.finditer(text)}
        controls = [value for link in unit.links for value in link.all("ctl") if not value.startswith("auditLogParts")]
        # What ends the phase, reads scores or captures, or is not understood: nothing is moved past it.
        stays = unit.user or not names <= MOVES or not all(value.startswith("ruleRemove") for value in controls)
        scores = {name for name in variables if "score" in name and (name in written or not name.isidentifier())}
        stays |= bool(scores) or ("capture" not in names and any(name.isdecimal() for name in variables))
        adds = all("_score" in name and value.startswith("+") for link in unit.links for name, value in link.sets().items())
        if unit in asked and adds and not (stays or controls or variables & written or {*unit.tags, str(unit.id)} & removed):
            found[unit] = number
        elif found and stays:
            break
        meant = [value.partition("=")[2].partition(";")[0] for value in controls]
        removed.update(meant, map(str, ids(meant)))
    return list(reversed(found))


def questions(units: list[Unit]) -> Iterator[tuple[str, Need, list[str]]]:
    """By place what any of these rules needs, and in which targets."""
    found = defaultdict(list)
    for target in dict.fromkeys(target for unit in units for target in unit.links[0].targets if not target.startswith("!")):
        place = place_of(target)
        # An address and a single header are looked at by some of the rules, values and headers by nearly all.
        rules = tuple(unit for unit in units if (target in unit.links[0].targets if place == "address" else place in (proofs(unit) or {})))
        found[place, rules].append(target)
    yield from ((place, Need(rules, place), targets) for (place, rules), targets in found.items())


def question(targets: list[str], need: Need, marker: str, numbers: Iterator[int]) -> str:
    """Jumps to a marker where one of the targets holds what is needed. What fails, such as an expression too large, jumps there too."""
    return f'SecRule {"|".join(targets)} "!@rx {need.expression()}" "id:{next(numbers)},phase:2,{QUIET},skipAfter:{marker}"\n'


def gate(name: str, units: list[Unit], numbers: Iterator[int]) -> None:
    """Put questions before these rules, and a jump over the rules where none of the questions matches.

    Who jumps over the questions jumps over that jump.
    """
    text = ""
    for place, need, targets in questions(units):
        asked = question(targets, need, f"KIT-ASK-{name}", numbers)
        if place == "header":
            # All headers in one text, one to a line, and the body: what that does not hold no header does. One question for some twenty.
            need.texts.discard(b"\n")
            once = question(["FULL_REQUEST"], need, f"KIT-SINGLE-{name}", numbers).replace(r"\A", r"\A(?=.)")
            asked = f"""{once}SecAction "id:{next(numbers)},phase:2,{QUIET},skipAfter:KIT-HEADERS-{name}"
SecMarker KIT-SINGLE-{name}
{asked}SecMarker KIT-HEADERS-{name}
"""
        text += asked
    text += f'SecAction "id:{next(numbers)},phase:2,{QUIET},skipAfter:KIT-PASS-{name}"\nSecMarker KIT-ASK-{name}\n'
    text += JSON.format(next(numbers), next(numbers))
    for unit in units:
        apart(unit, numbers)
    units[0].before = text + units[0].before
    units[-1].text += f"SecMarker KIT-PASS-{name}\n"


def apart(unit: Unit, numbers: Iterator[int]) -> None:
    """A rule looks at each value of JSON by itself: first ask for what this one needs in the whole body."""
    marker, text = f"KIT-{unit.id}", ""
    json = Need([unit], "json").in_json() if "json" in (proofs(unit) or {}) else None
    for place, need, targets in questions([unit]) if json else ():
        others = [target for target in targets if place != "value" or target.startswith("REQUEST_COOKIES")]
        text += question(others, need, marker, numbers) if others else ""
    if json:
        text = question(["TX:kit_json"], json, marker, numbers) + text
        text += f'SecAction "id:{next(numbers)},phase:2,{QUIET},skipAfter:{marker}-NOT"\nSecMarker {marker}\n'
        unit.before = text + unit.before
        unit.text += f"SecMarker {marker}-NOT\n"


def near(rules: list[Unit]) -> set[Unit]:
    """Chains that read what matched before them, and the rules there: these are asked as they are written, but after one that clears it."""
    clears = [unit.links[0].operator == "@streq -" for unit in rules]
    reading = [number for number, unit in enumerate(rules) if unit.reads_matches() and not clears[number - 1]]
    return {one for number in reading for one in rules[max(0, number - NEAR) : number + 1]}


def gates(units: list[Unit]) -> list[Unit]:
    """Put rules of phase 2 that have a proof behind gates: by kind those that can be moved, others where many stand side by side."""
    numbers = count(20000)
    rules = [unit for unit in units if unit.phase == BODY and not unit.gone]
    # What never matches is gone, and would have cleared what a chain reads (Unit.reads_matches).
    for before, unit in pairwise(unit for unit in units if unit.phase == BODY and (not unit.gone or unit.decided is False)):
        if before.gone and not unit.gone and unit.reads_matches():
            unit.before += CLEAR.format(next(numbers))
    proved = {unit: kind(unit) for unit in set(rules) - near(rules) if kind(unit)}
    moved = sorted(free(units, set(proved)), key=proved.__getitem__)
    side_by_side = groupby(
        (unit for unit in units if unit in rules or unit.words[0] == "SecMarker"), lambda unit: unit in proved and unit not in moved
    )
    for number, run in enumerate(list(run) for mine, run in side_by_side if mine):
        if len(run) >= MANY_RULES:
            gate(f"run-{number}", run, numbers)
    for name, mine in ((name, list(mine)) for name, mine in groupby(moved, proved.__getitem__)):
        for unit in mine:
            unit.before += CLEAR.format(next(numbers)) if unit.reads_matches() else ""
        gate(name, mine, numbers)
    last = max(map(units.index, moved), default=0)
    for unit in moved:
        unit.file = units[last].file
    return [unit for unit in units[: last + 1] if unit not in moved] + moved + units[last + 1 :]


# --- Files -------------------------------------------------------------------------------------------------------------


def write(units: list[Unit], folder: Path) -> None:
    """Write each file once more, and main.conf, which includes them and the user's own in their order."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    files = list(dict.fromkeys(unit.file for unit in units))
    for data in {data for file in files for data in file.parent.glob("*.data")}:
        (folder / data.name).symlink_to(data)  # lists of words: @pmFromFile looks for them beside the rule
    for file in (file for file in files if not file.name.startswith("user-")):
        text = "".join(unit.before + ("" if unit.gone else unit.text) for unit in units if unit.file == file)
        (folder / file.name).write_text(text, encoding="latin-1")
    includes = (file if file.name.startswith("user-") else folder / file.name for file in files)
    (folder / "main.conf").write_text("".join(f'Include "{file}"\n' for file in includes))


def main(source: Path, folder: Path) -> None:
    units = read(source)
    before = sum(bool(unit.links) for unit in units)
    directives(units)
    Constants(units).decide()
    simplify(units)
    write(gates(units), folder)
    kept = [unit for unit in units if unit.links and not unit.gone]
    print(
        f"{source}: {before} rules, {len(kept)} of them loaded, {sum(bool(proofs(unit)) for unit in kept)} asked only where they can match"
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
