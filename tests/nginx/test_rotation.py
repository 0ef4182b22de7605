"""Active health checks (nginx/rotation): who does not answer gets no request, and gets them again; each with its twin, HEALTH_CHECKS=off.

A backend is frozen from inside: its first process, nginx's master, is left alone by such a signal, and its worker stops. So its kernel
goes on accepting connections, as a container's does that hangs.
"""

import re

import pytest

from tests.clients import Reply, Session, wait_until
from tests.nginx.containers import BACKEND, Container, Site, docker

pytestmark = pytest.mark.runtimes("compose")

NOBODY_LISTENS = "sleep infinity"
# The container is still there when its server has ended.
STAYS_BEHIND = BACKEND.replace("exec nginx", "nginx") + "sleep infinity"
# Longer than it takes to take one out of rotation (5 s).
PATIENCE_S = 6.0


def signal(backend: str, name: str) -> None:
    docker("exec", backend, "bash", "-c", f"kill -{name} -1")


def in_rotation(gateway: Container) -> int:
    return len(gateway.run("cat /run/nginx/rotation/hosts").splitlines())


def ask(gateway: Container, count: int = 12, timeout_s: float = PATIENCE_S) -> list[Reply]:
    """Send so many requests one after the other, each on a connection of its own."""
    with Session(gateway.client().url, timeout_s=timeout_s) as session:
        return [session.send("GET", "/") for _ in range(count)]


def who_answered(replies: list[Reply]) -> set[str]:
    """Return the names of the backends that answered, "" for who did not."""
    return {"" if reply.failed else reply.body.decode() for reply in replies}


def serving(site: Site, *options: str, backends: int = 3, command: str = BACKEND) -> tuple[Container, list[str]]:
    """A gateway with so many backends, all of which have answered a visitor."""
    names = [site.backend(command) for _ in range(backends)]
    gateway = site.gateway("--env", "LIMITS=off", *options)
    wait_until(lambda: who_answered(ask(gateway)) == set(names), "all backends answer")
    return gateway, names


def test_a_frozen_container_gets_no_request_until_it_answers_again(site: Site) -> None:
    gateway, (frozen, *others) = serving(site)
    signal(frozen, "STOP")
    wait_until(lambda: "out of rotation" in gateway.logs(), "the gateway says who does not answer")
    wait_until(lambda: who_answered(ask(gateway)) == set(others), "nginx has the new list")

    assert who_answered(ask(gateway, 60)) == set(others)

    signal(frozen, "CONT")
    assert wait_until(lambda: frozen in who_answered(ask(gateway)), "it is asked again")


def test_without_health_checks_it_is_asked_again_and_again(site: Site) -> None:
    """The twin: whenever nobody waits for it any more it is the one with the fewest requests."""
    gateway, (frozen, *_) = serving(site, "--env", "HEALTH_CHECKS=off")
    signal(frozen, "STOP")
    try:
        for _ in range(2):
            assert [reply.error != "" for reply in ask(gateway, 3)].count(True) == 1
    finally:
        signal(frozen, "CONT")


def test_when_most_are_silent_all_are_in_rotation(site: Site) -> None:
    """That is an overload rather than a fault; the one that is left would not outlive the work of all."""
    gateway, (*silent, _) = serving(site)
    for one in silent:
        signal(one, "STOP")
    wait_until(lambda: "2 do not answer and 1 do, so all are in rotation" in gateway.logs(), "the gateway says so")
    wait_until(lambda: in_rotation(gateway) == 3, "nginx is told")
    for one in silent:
        signal(one, "CONT")


def test_who_refuses_is_out_also_when_most_do(site: Site) -> None:
    """As containers do that drain (gunicorn.conf.py, section 8): refused at once, and nobody waits for an address that has gone."""
    gateway, (*leaving, stays) = serving(site, command=STAYS_BEHIND)
    for one in leaving:
        docker("exec", one, "bash", "-c", "kill -QUIT $(cat /run/nginx/backend.pid)")
    wait_until(lambda: in_rotation(gateway) == 1, "the others are out of rotation")
    assert who_answered(ask(gateway, 30)) == {stays}


def test_a_container_that_never_answered_gets_no_request(site: Site) -> None:
    gateway, _ = serving(site, backends=1)
    site.backend(NOBODY_LISTENS)
    wait_until(lambda: gateway.run("getent ahostsv4 app").count("STREAM") == 2, "the engine's DNS has both")

    assert "" not in who_answered(ask(gateway, 30))
    assert in_rotation(gateway) == 1
    assert "Connection refused" not in gateway.logs()


def test_without_health_checks_it_does(site: Site) -> None:
    """The twin: nginx tries the other one then, which only a request that may be repeated survives."""
    gateway, _ = serving(site, "--env", "HEALTH_CHECKS=off", backends=1)
    site.backend(NOBODY_LISTENS)

    wait_until(lambda: ask(gateway) and "Connection refused" in gateway.logs(), "nginx has asked it")


def test_another_status_is_no_health(site: Site) -> None:
    """While nobody is healthy all are asked, as an application without the path shows; beside a healthy one they are not."""
    ill = [site.backend(), site.backend()]
    gateway = site.gateway("--env", "LIMITS=off", "--env", "HEALTH_PATH=/large/missing")
    wait_until(lambda: who_answered(ask(gateway)) == set(ill), "both are asked")

    healthy = site.backend(BACKEND.replace("location /large {", "location /large/missing { return 200; } location /other {"))
    wait_until(lambda: who_answered(ask(gateway)) == {healthy}, "the healthy one is asked alone")


def test_the_name_server_is_replaced_when_it_has_gone(site: Site) -> None:
    gateway, names = serving(site, backends=1)
    gateway.run("kill -9 $(cat /run/nginx/rotation/dnsmasq.pid)")
    names.append(site.backend())

    wait_until(lambda: who_answered(ask(gateway)) == set(names), "a new container is found")


def test_the_gateway_is_ill_when_nobody_looks(site: Site) -> None:
    gateway, _ = serving(site, backends=1)
    # Of the background process; the file's age is what its end would come to.
    kill = "for of in /proc/[0-9]*; do ! grep -q 'gateway/[r]otation' $of/cmdline || kill -9 ${of#/proc/}; done"
    gateway.run(f"{kill}; touch -d '1 min ago' /run/nginx/rotation/looked")
    done = docker("exec", gateway.name, "/opt/gateway/healthcheck", check=False)

    assert done.returncode == 1
    assert "nobody looks at the app's containers any more" in done.stderr
    assert "" not in who_answered(ask(gateway))


def test_nginx_t_starts_nothing(site: Site) -> None:
    site.backend()
    done = docker("run", "--rm", "--tmpfs", "/run/nginx:uid=10101", "--network", site.network, site.image, "nginx", "-t")

    assert "rotation:" not in done.stderr
    assert re.search("test is successful", done.stderr)
