"""What a caller may do: verify, enroll, erase. Each is one function from request data to result."""

from .callers import NOBODY, Caller
from .enrolment import Enrolled, enroll
from .erasure import erase_reference, erase_row, erase_subject
from .identification import Identified, identify
from .verification import Verified, verify

__all__ = [
    "NOBODY",
    "Caller",
    "Enrolled",
    "Identified",
    "Verified",
    "enroll",
    "erase_reference",
    "erase_row",
    "erase_subject",
    "identify",
    "verify",
]
