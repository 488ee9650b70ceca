"""What the processor says of itself."""

from __future__ import annotations

import hashlib
import os
import platform
from functools import cache
from pathlib import Path


def cpu_name() -> str:
    """The processor as Linux names it, else the machine type."""
    return _facts().get("model name", platform.machine())


def identity() -> str:
    """Equal on two machines that compute alike: the name, and a digest of the instructions it has."""
    instructions = " ".join(sorted(_facts().get("flags", _facts().get("Features", "")).split()))
    return f"{cpu_name()} {hashlib.sha256(instructions.encode()).hexdigest()[:16]}"


def has_vnni() -> bool:
    """Whether the processor multiplies INT8 four at a time (AVX-VNNI or AVX-512 VNNI); False where that is unknown."""
    return not {"avx_vnni", "avx512_vnni"}.isdisjoint(_facts().get("flags", "").split())


def cores() -> int:
    """How many of them this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@cache
def _facts() -> dict[str, str]:
    """The first processor's lines of Linux's /proc/cpuinfo."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").split("\n\n")[0].splitlines()
    except OSError:
        return {}
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
