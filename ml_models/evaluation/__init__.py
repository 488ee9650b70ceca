"""Evaluation: pair lists in, error rates with intervals out. Imports no Django."""
