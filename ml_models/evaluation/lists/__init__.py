"""Pair lists: which pictures are compared, and whom they show."""
