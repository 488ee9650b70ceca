"""Outlives the supervisor by a moment: when its pipe closes, whatever still runs is stopped.

Started as a script with the standard library only. It reads `+ GROUP SIGNAL` and `- GROUP` lines; the end of
the input means that the supervisor is gone, be it by SIGKILL.
"""

import contextlib
import os
import signal
import sys
import time

GRACE_S = 5.0


def main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # we end when our input does
    groups: dict[int, int] = {}
    for line in sys.stdin:
        action, group, *number_text = line.split()
        if action == "+":
            groups[int(group)] = int(number_text[0])
        else:
            groups.pop(int(group), None)
    stop(groups)


def stop(groups: dict[int, int]) -> None:
    """Ask every group's leader to end, the last started first, and kill what is left after a while."""
    for group, stop_signal in reversed(groups.items()):
        with contextlib.suppress(ProcessLookupError):
            # only the leader gets the polite signal: it knows how to stop its own children
            os.kill(group, stop_signal)
    deadline = time.monotonic() + GRACE_S
    while time.monotonic() < deadline and any(_signal(group, 0) for group in groups):
        time.sleep(0.02)
    for group in groups:
        _signal(group, signal.SIGKILL)


def _signal(group: int, number: int) -> bool:
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    return True


if __name__ == "__main__":
    main()
