"""Why no honest figure can come of what was given."""


class EvidenceRefused(ValueError):
    """No honest figure can come of what was given; `code` says why, the message what would help."""

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        super().__init__(message)


class PairListRefused(EvidenceRefused):
    """missing_files, unreadable, contradictory, one_class"""
