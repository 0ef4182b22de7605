"""The stack on a Docker Swarm (docs/swarm.md), and a Swarm of three nodes on one machine for trying.

`stack_file` turns what Compose makes of the project's files into what `docker stack deploy` reads; `deploy` checks, migrates, deploys
and waits; `nodes` makes the three nodes. Every command goes through the manager's own docker.
"""
