"""What `make run` prints when the service is ready."""

import json
import shlex
import textwrap
from collections.abc import Mapping
from typing import Any

from devstack.portraits import EILEEN_COLLINS, GRACE_HOPPER, write_portraits
from devstack.state import State

ADMIN = "admin"
SUBJECT = "eileen-collins"


def welcome(state: State, environment: Mapping[str, str], took_s: float) -> str:
    """The address, the ways in, and lines to paste."""
    url, folder = environment["DEVSTACK_URL"], state.path / "portraits"
    write_portraits(folder)
    key = environment["DEVSTACK_API_KEY"]

    def curl(call: str, portrait: str) -> str:
        image = shlex.quote(f"image=@{folder / portrait}")
        authorization = shlex.quote(f"Authorization: Api-Key {key}")
        return f"curl -sS -H {authorization} -F subject_id={SUBJECT} -F {image} {url}/api/v1/face/{call}"

    evidence = evidence_in_words(json.loads((state.path / "evidence.json").read_text()))
    return f"""
Ready after {took_s:.1f} s at {url}

  API        {url}/api/docs/
  admin      {url}/admin/   {ADMIN} / {state.secrets()["admin"]}
  camera     {url}/try/   with the key below
  API key    {key}
  logs       {state.logs}

  The demo model pack is for development, demos and tests only (non-commercial).
  Its third member is SFace, standing in for AdaFace until you convert the author's weights.

{evidence}

Enroll a person, verify the same person, verify another one:

{curl("enroll", EILEEN_COLLINS)}
{curl("verify", EILEEN_COLLINS)}
{curl("verify", GRACE_HOPPER)}

Ctrl-C stops everything; the data stays in {state.path}.
"""


def evidence_in_words(evidence: Mapping[str, Any]) -> str:
    """What is known of the active version, and what is missing; see `prepare.evidence_of_active`."""
    nothing = {"about": "nothing: no report is kept with it (load_ensemble)", "figures": [], "lacks": []}
    known = evidence["known"] or nothing
    paragraphs = [
        (f"Known of version {evidence['version']}, which is active: {known['about']}", known["figures"]),
        ("Not known:", known["lacks"]),
        ("Evidence that it lacks (a production deployment would refuse it):", evidence["lacking"] or ["nothing"]),
    ]
    return "\n".join(
        "\n".join([_wrapped(heading, "  "), *(_wrapped(f"- {line}", "    ") for line in lines)])
        for heading, lines in paragraphs
        if lines or heading.startswith("Known")
    )


def _wrapped(text: str, indent: str) -> str:
    further = indent + ("  " if text.startswith("- ") else "")
    return textwrap.fill(text, 110, initial_indent=indent, subsequent_indent=further)
