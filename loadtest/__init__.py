"""Compare servers under load, and say how sure the answer is.

Four stages that never mix: measure (writes raw facts) -> records (what the files hold) -> judge (pure) -> report (words and pictures).
"""
