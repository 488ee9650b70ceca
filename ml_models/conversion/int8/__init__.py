"""Float → INT8: static quantisation with frozen ranges, layers kept in float where measuring says so."""

from .mixed_precision import Attempt, Quantized, quantize_model

__all__ = ["Attempt", "Quantized", "quantize_model"]
