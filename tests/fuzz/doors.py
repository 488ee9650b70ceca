"""`make fuzz`, its second half: bodies against the REST door, through the whole of Django, on services of its own."""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.fuzz.bodies import body
from tests.support.memory import peak_mib, set_back_peak

if TYPE_CHECKING:
    from django.test import Client

# the dearest take 0.2 s; a body that costs more than its length costs minutes. The rest is room for a slow machine
MAX_CPU_S, MAX_MORE_MIB, MAX_ANSWER_BYTES = 3.0, 150, 10_000


@dataclass
class Report:
    """What came of the runs; a finding is "run NUMBER of SEED: what"."""

    runs: int = 0
    codes: Counter[str] = field(default_factory=Counter)
    findings: list[str] = field(default_factory=list)
    worst_s: float = 0.0
    more_mib: float = 0.0


def one(client: Client, index: int, seed: int, report: Report) -> None:
    """One run against a client that does not raise what the service raises."""
    sent = body(index, seed)
    started = time.process_time()
    answer = client.generic("POST", sent.path, sent.data, sent.content_type)
    taken_s = time.process_time() - started
    report.runs += 1
    report.worst_s = max(report.worst_s, taken_s)
    is_problem = answer.headers["Content-Type"] == "application/problem+json"
    code = str(json.loads(answer.content)["code"]) if is_problem else str(answer.status_code)
    report.codes[code] += 1
    wrong = {
        f"status {answer.status_code}, {code}": answer.status_code >= 500 and code != "not_ready",
        f"{answer.headers['Content-Type']} of {answer.status_code}": not is_problem and answer.status_code >= 300,
        f"{taken_s:.1f} s": taken_s > MAX_CPU_S,
        f"an answer of {len(answer.content)} bytes": len(answer.content) > MAX_ANSWER_BYTES,
    }
    report.findings += [f"run {index} of seed {seed}: {what}" for what, is_so in wrong.items() if is_so]


def run(client: Client, first: int, stop: int, seed: int) -> Report:
    """Runs of one process, and by how much their peak is above what was there before them."""
    report = Report()
    for index in range(first, min(first + 50, stop)):  # what is imported and cached once is no cost of a body
        one(client, index, seed, report)
    set_back_peak()
    before_mib = peak_mib()
    for index in range(first + 50, stop):
        one(client, index, seed, report)
        if report.runs % 5000 == 0:
            print(f"{report.runs} bodies, {len(report.findings)} findings", file=sys.stderr, flush=True)
    report.more_mib = peak_mib() - before_mib
    if report.more_mib > MAX_MORE_MIB:
        report.findings.append(f"{report.more_mib:.0f} MiB more after {report.runs} runs of seed {seed}")
    return report


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.doors", description=__doc__)
    parser.add_argument("--runs", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=int(time.time()), help="the same seed gives the same bodies")
    parser.add_argument("--only", type=int, metavar="RUN", help="repeat one run")
    options, _ = parser.parse_known_args()  # `make fuzz` gives both halves the same
    first, stop = (options.only, options.only + 1) if options.only is not None else (0, options.runs)

    from devstack.ephemeral import ephemeral_services

    with ephemeral_services() as environment:
        os.environ.update(environment, DJANGO_SETTINGS_MODULE="backend_easy.settings")
        report = run(client(), first, stop, options.seed)
    print(f"seed {options.seed}: {report.runs} bodies")
    print(", ".join(f"{code} {count}" for code, count in sorted(report.codes.items())))
    print(f"longest: {report.worst_s:.2f} s of the processor; {report.more_mib:.0f} MiB more at the peak")
    print(f"findings: {len(report.findings)}")
    for finding in report.findings[:50]:
        print(f"  {finding}")
    return int(bool(report.findings))


def client() -> Client:
    """An administrator with a token, in an empty database."""
    import django
    from django.conf import settings

    django.setup()
    logging.disable()  # each refusal is a line
    settings.ALLOWED_HOSTS.append("testserver")
    settings.ML_MODELS["LIMITS"] = {"caller": None, "subject": None}

    from django.contrib.auth import get_user_model
    from django.core.management import call_command
    from django.test import Client
    from rest_framework.authtoken.models import Token

    call_command("migrate", verbosity=0)
    user = get_user_model().objects.create_superuser("fuzz")
    token = Token.objects.create(user=user)
    return Client(raise_request_exception=False, headers={"Authorization": f"Token {token.key}"})


if __name__ == "__main__":
    sys.exit(main())
