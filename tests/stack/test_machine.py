"""Ports that are free: none is given twice, and none that has a use already."""

import socket

import pytest

from tools.stack import StackError
from tools.stack.machine import GIVEN, free_hundred, free_ports


@pytest.fixture(autouse=True)
def three_ports(monkeypatch: pytest.MonkeyPatch) -> range:
    """Three neighbours of 127.0.0.1, which are all that may be chosen from."""
    free = set(free_ports(1500))  # many enough that some stand side by side
    first = next(port for port in free if free >= {port + 1, port + 2})
    monkeypatch.setenv("KIT_PORTS", f"{first}-{first + 2}")
    GIVEN.clear()
    return range(first, first + 3)


def test_they_differ_and_come_from_the_range(three_ports: range) -> None:
    assert sorted(free_ports(3)) == list(three_ports)


def test_one_that_was_given_and_is_not_bound_yet_is_not_given_again(three_ports: range) -> None:
    assert sorted(free_ports(2) + free_ports(1)) == list(three_ports)


def test_one_that_is_taken_is_not_free(three_ports: range) -> None:
    with socket.create_server(("127.0.0.1", three_ports[1])):
        assert sorted(free_ports(2)) == [three_ports[0], three_ports[2]]
        GIVEN.clear()
        with pytest.raises(StackError, match=r"3 free ports are needed, and 127\.0\.0\.1 has 2"):
            free_ports(3)


def test_a_hundred_leaves_out_the_port_that_is_bound_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """GATEWAY_PORT, free until the gateway starts: the WAF's was the same."""
    found = int(free_hundred(avoid=0)) * 100
    monkeypatch.setenv("KIT_PORT_BLOCKS", f"{found}-{found + 99}")
    assert int(free_hundred(avoid=found + 100)) * 100 == found
    with pytest.raises(StackError, match="a hundred ports in a row are needed"):
        free_hundred(avoid=found + 43)
