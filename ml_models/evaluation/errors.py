"""Why a study gives no trustworthy figure."""


class StudyRefused(ValueError):
    """No trustworthy figure can come of this study; `code` says why, the message what to do."""

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        super().__init__(message)


class PairListRefused(StudyRefused):
    """missing_files, unreadable, contradictory, one_class"""
