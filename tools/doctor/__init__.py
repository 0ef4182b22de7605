"""Reads what every layer of the stack is set to, and says whether the layers agree.

Four stages that do not mix: the gatherers (`nginx`, `gunicorn`, `compose`, `app`, `running`) fill a
frozen `facts.Facts`, `rules` judges it, `report` prints the findings. Only the gatherers touch the
file system, a process or the network; every rule can be tried on facts made by hand.
"""
