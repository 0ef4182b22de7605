"""Releases and faults under load: what failed, when, and whether every acknowledged write is in the database once."""
