"""Challenges and attacks on the development sets: docs/presentation.md.

    python -m devstack exec python -m devstack.presentation

The 40 people of London turn their heads before a studio's cameras. Attacks are made from the same pictures: weak
evidence, for no print or screen was before a real camera.
"""
