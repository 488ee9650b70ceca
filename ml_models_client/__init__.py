"""A typed client of the face verification service.

    from ml_models_client import Client, Problem, enroll, verify

    with Client("https://faces.example", api_key) as client:
        try:
            answer = client.send(verify("child-1", photo))
        except Problem as problem:
            show(problem.code, problem.detail)
        print(answer["decision"])

A call is made once and may be sent again: it keeps its Idempotency-Key. `AsyncClient` takes the same calls.
"""

from .answers import (
    AssessmentAnswer,
    CandidateAnswer,
    ChallengeAnswer,
    EnrollAnswer,
    ErasedAnswer,
    GroupAnswer,
    IdentifyAnswer,
    QualityAnswer,
    ReasonAnswer,
    SubjectAnswer,
    VerifyAnswer,
)
from .calls import (
    Call,
    ask_challenge,
    ask_identify_challenge,
    assess_quality,
    change_group,
    enroll,
    erase_group,
    erase_reference,
    erase_subject,
    get_group,
    get_subject,
    identify,
    put_group,
    verify,
)
from .client import AsyncClient, Client, Problem

__all__ = [
    "AssessmentAnswer",
    "AsyncClient",
    "Call",
    "CandidateAnswer",
    "ChallengeAnswer",
    "Client",
    "EnrollAnswer",
    "ErasedAnswer",
    "GroupAnswer",
    "IdentifyAnswer",
    "Problem",
    "QualityAnswer",
    "ReasonAnswer",
    "SubjectAnswer",
    "VerifyAnswer",
    "ask_challenge",
    "ask_identify_challenge",
    "assess_quality",
    "change_group",
    "enroll",
    "erase_group",
    "erase_reference",
    "erase_subject",
    "get_group",
    "get_subject",
    "identify",
    "put_group",
    "verify",
]
