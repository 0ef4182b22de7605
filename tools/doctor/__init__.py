"""The doctor: compares what nginx, gunicorn, Compose, Flask and the database are told, in files that may be edited, and as it runs.

    python -m tools.doctor --project DIR

It is run from the kit, against the folder of a project, and needs nothing there. Each rule is a function of the facts.
"""
