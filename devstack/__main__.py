"""The development stack.

python -m devstack run              everything, until Ctrl-C
python -m devstack demo             the demo, on the running stack or one of its own
python -m devstack manage ARGS…     a management command, with the services it needs
python -m devstack exec COMMAND…    any command in that environment
"""

import os
import sys

from devstack import check, stack
from devstack.processes import Interrupted, Interruption, StackError
from devstack.state import ROOT, State, say


def main(arguments: list[str]) -> int:
    if arguments == ["check"]:
        return check.main()
    interruption = Interruption()
    interruption.install()
    state = State.default()
    state.create()
    match arguments:
        case ["run"]:
            return stack.run(state, interruption)
        case ["demo", *options]:
            return stack.run(state, interruption, then=[sys.executable, "-m", "devstack.demo", *options])
        case ["bench", *options]:
            # one account and one subject ask as much as the machine can answer
            for scope in ("CALLER", "SUBJECT", "CANDIDATES", "SEARCHES"):
                os.environ.setdefault(f"ML_MODELS_{scope}_PER_MINUTE", "1000000")
            # and somebody is enrolled and erased again and again
            os.environ.setdefault("ML_MODELS_REENROL_WINDOW_DAYS", "0")
            return stack.run(state, interruption, then=[sys.executable, "-m", "devstack.bench", *options])
        case ["manage", *options]:
            return stack.with_services(state, interruption, [sys.executable, str(ROOT / "manage.py"), *options])
        case ["exec", command, *options]:
            return stack.with_services(state, interruption, [command, *options])
        case _:
            say(__doc__ or "")
            return 2


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except StackError as error:
        say(f"✗ {error}")
        sys.exit(1)
    except Interrupted:
        say("Stopped.")
        sys.exit(0)
