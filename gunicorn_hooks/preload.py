"""Import libraries once, in the master; the application stays with the workers, so that SIGHUP loads new code.

After SIGHUP, max_requests or a crash a worker's start takes its CPU from workers that serve. The sample site: 0.11 s of CPU for a
start and end instead of 0.67, 141 MiB for three instead of 213. New versions of these libraries need a new container (or SIGUSR2).
"""

import gc
import importlib
import os
import sys
import threading

from gunicorn_hooks import refuse


def import_libraries() -> None:
    """Import the modules of PRELOAD_LIBRARIES (with spaces between them); refuse one that cannot be shared."""
    before = set(threading.enumerate())
    for name in os.environ.get("PRELOAD_LIBRARIES", "").split():
        try:
            importlib.import_module(name)
        except Exception as error:  # noqa: BLE001 - a module may raise anything
            refuse(f"PRELOAD_LIBRARIES: {name}: {error}; right are modules that can be imported here, such as flask sqlalchemy")
    started = ", ".join(thread.name for thread in set(threading.enumerate()) - before)
    if started:  # a fork copies only its own thread: locks that others held stay locked
        print(f"gunicorn.conf.py: PRELOAD_LIBRARIES: one started a thread ({started}), which no worker has", file=sys.stderr, flush=True)
        os._exit(2)  # SystemExit would wait for the thread
    # The workers' garbage collectors leave these objects alone: looking at one writes into it, and unshares its memory.
    gc.freeze()
