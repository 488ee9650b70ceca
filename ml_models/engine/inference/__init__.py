"""What runs a network: onnxruntime, which is always there, or OpenVINO. See docs/decisions/two-engines.md."""

from .protocol import Graph, Opener, Tensor, input_shape
from .with_onnxruntime import OnnxRuntimeGraph, onnxruntime_version
from .with_openvino import OpenVinoGraph, openvino_version, why_not_openvino

__all__ = [
    "Graph",
    "OnnxRuntimeGraph",
    "OpenVinoGraph",
    "Opener",
    "Tensor",
    "input_shape",
    "onnxruntime_version",
    "openvino_version",
    "why_not_openvino",
]
