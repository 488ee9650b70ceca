"""Labelled comparisons → the numbers of a version."""
