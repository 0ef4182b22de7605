"""A workload out of the gateway's access log: what can be repeated is, and what cannot is counted and said."""

import json
import re
from pathlib import Path

import pytest

from loadtest.access_log import MOST_PATHS, read_access_log
from loadtest.measure.generation import GeneratorProcess
from loadtest.measure.order import Order
from loadtest.records.store import RunError


def line(uri: str = "/", method: str = "GET", status: int = 200, upstream: str = "127.0.0.1:8000") -> str:
    return json.dumps({"method": method, "uri": uri, "status": status, "upstream": upstream})


def written(folder: Path, *lines: str) -> Path:
    path = folder / "access.log"
    path.write_text("\n".join(lines))
    return path


def test_the_mix_has_the_shares_of_the_log(tmp_path: Path) -> None:
    compose = [f"gateway-1  | {line('/shop?page=2')}"] * 3
    mix = read_access_log(written(tmp_path, *[line("/")] * 9, *compose, line("/cart", "POST"), line("/x", status=500), "hello"))
    scenario = tmp_path / "made.py"
    scenario.write_text(mix.locustfile())
    with GeneratorProcess() as generators:  # takes it as a scenario, or raises
        generators.visit(Order(url="http://127.0.0.1:9", mix=((str(scenario), "*", 1.0),)))

    assert mix.paths == {"/": 9, "/shop?page=2": 3}
    assert re.findall(r"@task\((\d+)\)", mix.locustfile()) == ["750", "250"]
    assert sum(mix.left_out.values()) == 3
    assert any("1 requests that may change something" in text for text in mix.lines())


def test_static_files_and_rare_addresses_are_left_out(tmp_path: Path) -> None:
    common = [line(f"/{number}") for number in range(MOST_PATHS)] * 2
    mix = read_access_log(written(tmp_path, *common, line("/rare"), line("/static/a.css", upstream="")))

    assert len(mix.paths) == MOST_PATHS
    assert "/rare" not in mix.paths
    assert "/static/a.css" not in mix.paths


@pytest.mark.parametrize("uri", ['/"); import os; ("', "/a'b\"c", "/\\"])
def test_an_address_is_data_and_never_code(tmp_path: Path, uri: str) -> None:
    mix = read_access_log(written(tmp_path, *[line("/")] * 3, line(uri)))

    compile(mix.locustfile(), "made.py", "exec")
    assert "import os" not in mix.locustfile() or repr(uri) in mix.locustfile()


@pytest.mark.parametrize(("lines", "reason"), [([], "it has no line"), (["GET / 200"], "no requests"), ([line("/", "POST")], "may change")])
def test_a_log_without_anything_to_repeat_is_refused(tmp_path: Path, lines: list[str], reason: str) -> None:
    with pytest.raises(RunError, match=reason) as caught:
        read_access_log(written(tmp_path, *lines))

    assert caught.value.exit_code == 2
