"""In short: the stack on three nodes, one of them killed under load, and what is refused before anything is touched.

The rest is in test_events.py, for a quiet machine: `make swarm-events`.
"""

import pytest

from tests.swarm.events import Cluster
from tools.stack import StackError
from tools.stack.compose import docker
from tools.swarm.deploy import check, deploy, model_of

# Without the WAF, whose image need not be sent then.
SETTINGS = {"WAF_MODE": "Off", "WAF_REPLICAS": "0"}


def refusal(cluster: Cluster, **settings: str) -> str:
    """Deploy with other settings; return what was said, and see that nothing was touched."""
    before = cluster.containers()
    with pytest.raises(StackError) as raised:
        deploy(cluster.nodes.manager(), cluster.nodes.stack({**cluster.images, **settings}), print)
    assert cluster.containers() == before
    return f"{raised.value.message}; {raised.value.hint}"


def test_each_node_has_a_gateway_and_an_app(cluster: Cluster) -> None:
    assert [[len(cluster.boxes(number, service)) for service in ("gateway", "app")] for number in (1, 2, 3)] == [[1, 1]] * 3


def test_a_missing_secret_is_named(cluster: Cluster) -> None:
    said = refusal(cluster, SECRET_KEY_NAME="other")  # noqa: S106 - its name

    assert said == "the Swarm has no secret other, which app, migrate read; openssl rand -hex 32 | docker secret create other -"


def test_an_image_of_this_machine_alone_is_named(cluster: Cluster) -> None:
    assert "app: the image site is on one machine alone, and the nodes are 3" in refusal(cluster, APP_IMAGE="site")


def test_an_image_that_a_node_cannot_pull_is_named(cluster: Cluster) -> None:
    """The migration comes first, so the site goes on with the old one."""
    said = refusal(cluster, APP_IMAGE="registry:5000/app:none")

    assert "migrate failed, and nothing else was touched (node-" in said
    assert "No such image: registry:5000/app:none" in said
    assert "_app 3 of 3" in said


def test_no_node_with_the_label_is_named(cluster: Cluster) -> None:
    model = model_of(cluster.nodes.stack(cluster.images))
    model["services"]["app"]["deploy"]["placement"] = {"constraints": ["node.labels.disk == fast"]}

    with pytest.raises(StackError, match="no node has the label disk=fast, and app runs on such a node alone") as raised:
        check(cluster.nodes.manager(), model)
    assert raised.value.hint.startswith("docker node update --label-add disk=fast NODE, one of node-")


def test_a_killed_node_costs_what_was_in_flight_on_it(cluster: Cluster) -> None:
    """Visitors of its gateway go to another one; no write is lost or doubled; the engine makes up for its containers."""

    def kill() -> None:
        docker("kill", cluster.nodes.container(3))
        cluster.lose()

    seen = cluster.observe(kill, rate_per_s=30, after_s=2, keep_alive=False)

    print(seen)
    assert seen.balance.holds
    assert seen.balance.acknowledged > 100
    assert seen.effect.last_failure_s is None or seen.effect.last_failure_s < 1  # those that came later went elsewhere
    assert cluster.strength() == {"app": (3, 3), "database": (1, 1), "gateway": (2, 2)}
