"""Copies just what a project needs out of this kit: python -m tools.eject --help."""
