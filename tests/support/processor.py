"""What the processor that runs the tests can do."""

from pathlib import Path

import pytest

from ml_models.engine.inference import why_not_openvino

_FLAGS = Path("/proc/cpuinfo").read_text(encoding="utf-8") if Path("/proc/cpuinfo").exists() else ""
needs_bfloat16 = pytest.mark.skipif(
    bool(why_not_openvino()) or not {"avx512_bf16", "amx_bf16"} & set(_FLAGS.split()),
    reason="needs OpenVINO on a processor that multiplies bfloat16 numbers",
)
