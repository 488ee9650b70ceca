"""A float TFLite network as ONNX, without TensorFlow."""

from .convert import convert

__all__ = ["convert"]
