"""Measure: start servers, make load, and write what was seen. Nothing here judges or prints a figure."""
