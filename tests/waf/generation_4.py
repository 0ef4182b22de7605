"""A small rule set that is laid out and wired as a release of the Core Rule Set 4 is, written for these tests.

Files, names of variables, phases, markers and the counting of scores are those of generation 4; what is looked for is a handful of words.
"""

from pathlib import Path

DEFAULTS = {
    "inbound_anomaly_score_threshold": "5",
    "blocking_paranoia_level": "1",
    "detection_paranoia_level": "%{tx.blocking_paranoia_level}",
    "sampling_percentage": "100",
    "early_blocking": "0",
    "critical_anomaly_score": "5",
    "allowed_methods": "GET HEAD POST OPTIONS",
}
LEVELS = range(1, 5)
VALUES = "REQUEST_COOKIES|ARGS_NAMES|ARGS|XML:/*"
SCORE = "setvar:'tx.inbound_anomaly_score_pl%d=+%%{tx.critical_anomaly_score}'"


def rule(condition: str, number: int, phase: int, *actions: str) -> str:
    """One rule over several lines, as they are written there."""
    parts = [f"id:{number}", f"phase:{phase}", *actions, "tag:'OWASP_CRS'", "ver:'OWASP_CRS/4.20.0'"]
    return f'{condition} \\\n    "' + ",\\\n    ".join(parts) + '"'


def quiet(condition: str, number: int, phase: int, *actions: str) -> str:
    """One that only sets something, or skips."""
    return rule(condition, number, phase, "pass", "t:none", "nolog", *actions)


def initialization() -> str:
    """Without a setup nothing is answered; what the setup left open gets its default; scores begin at 0; some requests are passed over."""
    zeros = [f"setvar:'tx.inbound_anomaly_score_pl{level}=0'" for level in LEVELS]
    random = ("pass", "nolog", "capture", "t:sha1,t:hexEncode", "setvar:'tx.sampling_rnd100=%{TX.1}%{TX.2}'")
    lower = 'SecRule TX:detection_paranoia_level "@lt %{tx.blocking_paranoia_level}"'
    return "\n".join(
        [
            rule('SecRule &TX:crs_setup_version "@eq 0"', 901001, 1, "deny", "status:500", "log", "msg:'No setup'"),
            *(
                quiet(f'SecRule &TX:{name} "@eq 0"', 901100 + number, 1, f"setvar:'tx.{name}={value}'")
                for number, (name, value) in enumerate(DEFAULTS.items())
            ),
            quiet("SecAction", 901200, 1, "setvar:'tx.blocking_inbound_anomaly_score=0'", *zeros),
            quiet('SecRule TX:sampling_percentage "@eq 100"', 901400, 1, "skipAfter:END-SAMPLING"),
            rule('SecRule UNIQUE_ID "@rx ^[a-f]*([0-9])[a-f]*([0-9])"', 901410, 1, *random),
            quiet('SecRule TX:sampling_rnd100 "!@lt %{tx.sampling_percentage}"', 901450, 1, "ctl:ruleRemoveByTag=OWASP_CRS"),
            'SecMarker "END-SAMPLING"',
            rule(lower, 901500, 1, "deny", "status:500", "t:none", "log", "msg:'Levels'"),
        ]
    )


def detection(number: int, rules: dict[int, dict[int, str]]) -> str:
    """One file of rules: ids and operators by level, with the marker at the end to which a lower level skips."""
    marker = f"END-REQUEST-{number}"
    lines = []
    for level in LEVELS:
        below = f'SecRule TX:DETECTION_PARANOIA_LEVEL "@lt {level}"'
        lines += [quiet(below, number * 1000 + 9 + 2 * level + phase, phase, f"skipAfter:{marker}") for phase in (1, 2)]
        actions = ("block", "capture", "t:none,t:lowercase", "msg:'Test'", "severity:'CRITICAL'", SCORE % level)
        lines += [rule(f'SecRule {VALUES} "{operator}"', found, 2, *actions) for found, operator in rules.get(level, {}).items()]
    return "\n".join([*lines, f'SecMarker "{marker}"'])


def blocking() -> str:
    """The sum over the levels that block, in phase 1 and again in phase 2, and the decision."""

    def sums(phase: int) -> list[str]:
        return [
            quiet(
                f'SecRule TX:BLOCKING_PARANOIA_LEVEL "@ge {level}"',
                949040 + 10 * phase + level,
                phase,
                f"setvar:'tx.blocking_inbound_anomaly_score=+%{{tx.inbound_anomaly_score_pl{level}}}'",
            )
            for level in LEVELS
        ]

    decide = 'SecRule TX:BLOCKING_INBOUND_ANOMALY_SCORE "@ge %{tx.inbound_anomaly_score_threshold}"'
    say = "msg:'Inbound Anomaly Score Exceeded (Total Score: %{TX.BLOCKING_INBOUND_ANOMALY_SCORE})'"
    return "\n".join(
        [
            *sums(1),
            quiet("SecAction", 949059, 2, "setvar:'tx.blocking_inbound_anomaly_score=0'"),
            *sums(2),
            rule(decide, 949111, 1, "deny", "t:none", say, "chain") + '\n    SecRule TX:EARLY_BLOCKING "@eq 1"\n',
            rule(decide, 949110, 2, "deny", "t:none", say),
        ]
    )


def unpack(folder: Path) -> Path:
    """Write the release as it is unpacked; what must not be loaded is no configuration at all. Return its folder."""
    method = rule('SecRule REQUEST_METHOD "!@within %{tx.allowed_methods}"', 911100, 1, "block", "msg:'Method'", SCORE % 1)
    sql = {1: {942151: r"@rx startswith\(", 942190: r"@rx user\(\)", 942360: r"@rx union\s+select"}, 2: {942430: "@rx ;;"}}
    commands = {1: {932160: "@pmFromFile unix-shell.data", 932280: r"@rx \{\w+,\w+\}"}}
    generic = {1: {934100: r"@rx require\s*\(", 934110: "@rx http://localhost"}}
    files = {
        "crs-setup.conf.example": "not for loading",
        "plugins/empty-config.conf": "# nothing",
        "plugins/example-before.conf": "not for loading",
        "rules/REQUEST-900-EXCLUSION-RULES-BEFORE-CRS.conf.example": "not for loading",
        "rules/REQUEST-901-INITIALIZATION.conf": initialization(),
        "rules/REQUEST-905-COMMON-EXCEPTIONS.conf": "# nothing",
        "rules/REQUEST-911-METHOD-ENFORCEMENT.conf": method,
        "rules/REQUEST-932-APPLICATION-ATTACK-RCE.conf": detection(932, commands),
        "rules/REQUEST-933-APPLICATION-ATTACK-PHP.conf": "not for loading",
        "rules/REQUEST-934-APPLICATION-ATTACK-GENERIC.conf": detection(934, generic),
        "rules/REQUEST-942-APPLICATION-ATTACK-SQLI.conf": detection(942, sql),
        "rules/REQUEST-944-APPLICATION-ATTACK-JAVA.conf": "not for loading",
        "rules/REQUEST-949-BLOCKING-EVALUATION.conf": blocking(),
        "rules/RESPONSE-959-BLOCKING-EVALUATION.conf": "not for loading",
        "rules/RESPONSE-999-EXCLUSION-RULES-AFTER-CRS.conf.example": "not for loading",
        "rules/unix-shell.data": "# names\nbin/bash\netc/passwd",
        "rules/lfi-os-files.data": "# names\netc/passwd\n.gitignore",
    }
    # Families that this release has no rule of: a rule set that lacks a file is refused.
    files |= {f"rules/REQUEST-{family}-EMPTY.conf": "# nothing" for family in ("913", "920", "921", "922", "930", "931", "941", "943")}
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"{text}\n")
    return folder
