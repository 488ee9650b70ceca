"""What can go wrong in a conversion; every refusal has a stable code and leaves nothing half-written.

ConversionError
├── SourceError         unreachable, tool_missing, wrong_hash, bad_archive, member_missing, member_too_large
├── UnsupportedModel    unsupported_model: an operator or a layout the converter has no rule for
├── RangesMismatch      ranges_mismatch: the activation ranges belong to another network
└── QuantizationRefused separation_lost, too_costly: an INT8 file that would separate people less well
"""

from collections.abc import Mapping, Sequence
from typing import Any


class ConversionError(Exception):
    """A refusal.

    Args:
        code: stable, for scripts.
        message: what is wrong and what to do about it.
    """

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        super().__init__(message)


class SourceError(ConversionError):
    pass


class UnsupportedModel(ConversionError):
    def __init__(self, message: str) -> None:
        super().__init__("unsupported_model", message)


class RangesMismatch(ConversionError):
    def __init__(self, message: str) -> None:
        super().__init__("ranges_mismatch", message)


class QuantizationRefused(ConversionError):
    """Args:
    attempts: the mixtures that were tried, `int8.Attempt`.
    costs: by layer, what it alone takes from the mean cosine.
    """

    def __init__(self, code: str, message: str, attempts: Sequence[Any], costs: Mapping[str, float]) -> None:
        self.attempts, self.costs = tuple(attempts), dict(costs)
        super().__init__(code, message)
