"""Processes that others started."""

import psutil


def has_ended(process: psutil.Process) -> bool:
    """Also one that nobody has asked for its exit code yet: an orphan's new parent may take its time."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
