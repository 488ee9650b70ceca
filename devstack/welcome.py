"""What `make run` prints when the service is ready."""

import json
import shlex
from collections.abc import Mapping

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

    lacking = json.loads((state.path / "evidence.json").read_text())
    evidence = "".join(f"\n    - {line}" for line in lacking) or " nothing"
    return f"""
Ready after {took_s:.1f} s at {url}

  API        {url}/api/docs/
  admin      {url}/admin/   {ADMIN} / {state.secrets()["admin"]}
  API key    {key}
  logs       {state.logs}

  The demo model pack is for development, demos and tests only (non-commercial).
  Its third member is SFace, standing in for AdaFace until you convert the author's weights.

  Evidence that the active version lacks (a production deployment would refuse it):{evidence}

Enroll a person, verify the same person, verify another one:

{curl("enroll", EILEEN_COLLINS)}
{curl("verify", EILEEN_COLLINS)}
{curl("verify", GRACE_HOPPER)}

Ctrl-C stops everything; the data stays in {state.path}.
"""
