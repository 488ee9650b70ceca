"""What a caller may do: verify, enroll, erase. Each is one function from request data to result."""

from .callers import NOBODY, Caller
from .enrolment import Enrolled, enroll
from .erasure import erase_reference, erase_row, erase_subject
from .verification import Verified, verify

__all__ = [
    "NOBODY",
    "Caller",
    "Enrolled",
    "Verified",
    "enroll",
    "erase_reference",
    "erase_row",
    "erase_subject",
    "verify",
]
