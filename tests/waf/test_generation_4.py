"""WAF_RULES_DIR with a release of generation 4: it starts, decides and is tuned as the other one.

The rules are the tests' own (generation_4.py): a release of the Core Rule Set cannot be installed where these run.
"""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.clients import wait_until
from tests.nginx.backends import RawBackend
from tests.nginx.gateway import ask
from tests.sites import Sites
from tests.waf import regression
from tests.waf.conftest import rules_of
from tests.waf.generation_4 import unpack
from tests.waf.site import Site
from tools.local import waf
from tools.local.nginx import Edit

ATTACK = "/?q=require+(1)"
SECOND_LEVEL = "/?q=a;;b"


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(unpack(tmp_path_factory.mktemp("coreruleset-4")))


@pytest.fixture(scope="module")
def modern(site: Site, shared_sites: Sites, backend: RawBackend, release: str) -> Site:
    assert site
    return shared_sites(backend.address, {"WAF_RULES_DIR": release})


def named_rules(site: Site, request_id: str) -> list[int]:
    """The rules that refused a request; their line is written after the answer was sent."""
    return wait_until(lambda: rules_of(site.waf.audited().get(request_id, {"messages": []})), "the refusal is in the audit log")


@pytest.mark.parametrize(
    ("path", "rule"),
    [
        ("/?q=1+union+select+2", 942360),
        ("/?q=cat+/etc/passwd", 932160),
        (ATTACK, 934100),
        ("/?q=%7B%7B7*7%7D%7D", 10220),
        ("/?q=http://localhost:8080", 10240),
        ("/?q=startswith(a)", 942151),
        ("/?q=%7Bid,name%7D", 932280),
    ],
)
def test_what_a_rule_finds_is_refused_by_the_sum(modern: Site, path: str, rule: int) -> None:
    """Rules of the kit (10220) count in that sum as well."""
    request_id = f"generation-4-{rule}"
    assert modern.get(path, f"X-Request-ID: {request_id}").status == 403
    assert {rule, 949110} <= set(named_rules(modern, request_id))


@pytest.mark.parametrize(
    "path",
    [
        *("/?q=some+words", SECOND_LEVEL, "/?q=rename+get_user()", "/?q=open+http://localhost:8080", "/?q=.gitignore"),
        *("/?$filter=startswith(a)", "/?query=%7Bme%7Bid,name%7D%7D"),
    ],
)
def test_what_is_ordinary_passes(modern: Site, path: str) -> None:
    """Also what a higher level would refuse, and what only a rule matches that exclusions.conf leaves out."""
    assert modern.get(path).status == 200


def test_the_settings_reach_it(shared_sites: Sites, backend: RawBackend, release: str, modern: Site) -> None:
    assert modern.request("DELETE", "/").status == 200
    own = {"WAF_RULES_DIR": release, "WAF_PARANOIA": "2", "WAF_ANOMALY_THRESHOLD": "10", "WAF_METHODS": "GET HEAD POST"}
    other = shared_sites(backend.address, own)

    assert other.get(ATTACK).status == 200
    assert other.get(f"{ATTACK};;").status == 403
    assert other.request("DELETE", "/?q=;;").status == 403


def test_sampling_passes_over_a_part(shared_sites: Sites, backend: RawBackend, release: str, modern: Site) -> None:
    assert modern
    half = shared_sites(backend.address, {"WAF_RULES_DIR": release, "WAF_SAMPLING": "50"})
    statuses = [half.get(ATTACK).status for _ in range(60)]

    assert 5 < statuses.count(403) < 55


def test_with_the_setup_of_generation_3_the_level_would_be_lost(start_site: Sites, backend: RawBackend, release: str, modern: Site) -> None:
    """The twin: each generation has its own name for it."""
    assert modern
    edit = Edit("templates/rules/settings.conf.template", r",setvar:tx\.blocking_paranoia_level=\$\{WAF_PARANOIA\}", "")
    without = start_site(backend.address, {"WAF_RULES_DIR": release, "WAF_PARANOIA": "2"}, [edit])

    assert without.get(SECOND_LEVEL).status == 200


def test_without_a_setup_it_refuses_to_work(start_site: Sites, backend: RawBackend, release: str, modern: Site) -> None:
    assert modern
    edit = Edit("templates/rules/settings.conf.template", r'^SecAction "id:900990.*$', "")
    without = start_site(backend.address, {"WAF_RULES_DIR": release}, [edit])

    assert without.get("/").status == 500


def test_nothing_else_of_the_release_is_loaded(modern: Site, release: str) -> None:
    """Its setup, its plugins and what is for PHP, Java or responses: in this release they are no configuration, and nginx starts."""
    for name in ("plugins/example-before.conf", "rules/REQUEST-933-APPLICATION-ATTACK-PHP.conf"):
        assert "not for loading" in (Path(release) / name).read_text()
    assert modern.get("/").status == 200


REGRESSION = """
rule_id: 942360
tests:
  - {test_id: 1, stages: [{input: {uri: "/?q=1+union+select+2"}, output: {log: {expect_ids: [942360]}}}]}
  - {test_id: 2, stages: [{input: {uri: "/?q=some+words"}, output: {log: {no_expect_ids: [942360]}}}]}
  - {test_id: 3, stages: [{input: {uri: "/?q=user()"}, output: {log: {expect_ids: [942190]}}}]}
  - test_id: 4
    stages: [{input: {method: POST, headers: {Content-Type: application/json}, data: "{"}, output: {log: {expect_ids: [942360]}}}]
  - {test_id: 5, stages: [{input: {uri: "/?q=some+words"}, output: {log: {expect_ids: [942360]}}}]}
  - {test_id: 6, stages: [{input: {uri: "/"}, output: {log: {expect_ids: [933100]}}}]}
"""


def test_the_rules_own_tests_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str], not_run: Callable[[str], None]) -> None:
    """The runner for a release's regression tests (regression.py) tells what is missed from what is left out on purpose."""
    if lack := waf.lacks(ask(), {}):
        not_run(lack)
    tree = unpack(tmp_path / "crs")
    (tree / "tests" / "regression" / "tests").mkdir(parents=True)
    (tree / "tests" / "regression" / "tests" / "942360.yaml").write_text(REGRESSION)

    assert regression.main(tree) == 1
    printed = capsys.readouterr()
    assert "| 942 | 2 | 1 | 1 | 1 | 1 | 0 |" in printed.out
    assert "942360-5" in printed.err
