"""Compare servers under load, and say how sure the answer is.

Four stages that never mix: run (writes files) -> records (what the files hold) -> judge (pure) -> report (prints).
"""
