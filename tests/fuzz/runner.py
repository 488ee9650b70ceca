"""Runs of the decoder over damaged pictures, in processes that may hang or crash without taking the count along."""

from __future__ import annotations

import multiprocessing
import resource
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from ml_models.engine import decode as decoding
from ml_models.engine.errors import ImageError
from tests.fuzz.mutations import MUST_BE_READ, mutated

HANG_S = 2.0
# given up on by the parent; the limit above is in seconds of the processor, which a busy machine does not stretch
_LOST_S = 60.0
_MEMORY_BYTES = 4 << 30


@dataclass
class Report:
    """What came of the runs; a finding is "run NUMBER of SEED: what"."""

    runs: int = 0
    decoded: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    reached: Counter[str] = field(default_factory=Counter)
    findings: list[str] = field(default_factory=list)
    worst_s: float = 0.0


def one(index: int, seed: int, report: Report) -> None:
    """One run. `reached` counts the pictures whose header was accepted, so that their pixels were decoded."""
    name, data = mutated(index, seed)
    original = decoding.check_size

    def counting(*args: Any) -> None:
        original(*args)
        report.reached[name] += 1

    decoding.check_size = counting  # type: ignore[assignment]
    started = time.process_time()
    try:
        decoding.decode(data)
        report.decoded[name] += 1
    except ImageError as error:
        report.refused[error.code] += 1
        if name.endswith(MUST_BE_READ):
            report.findings.append(f"run {index} of seed {seed} ({name}): {error.code}: {error.__cause__!r}"[:300])
    # whatever else comes out is what this is looking for
    except BaseException as error:  # noqa: BLE001
        report.findings.append(f"run {index} of seed {seed} ({name}): {type(error).__name__}: {error}"[:300])
    finally:
        decoding.check_size = original
    report.runs += 1
    taken_s = time.process_time() - started
    report.worst_s = max(report.worst_s, taken_s)
    if taken_s > HANG_S:
        report.findings.append(f"run {index} of seed {seed} ({name}): {taken_s:.1f} s")


def _work(first: int, stop: int, step: int, seed: int, at: Any, results: Any) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    report = Report()
    for index in range(first, stop, step):
        at.value = index
        one(index, seed, report)
        if report.runs == 200 or index + step >= stop:
            results.put(report)
            report = Report()
    results.close()
    results.join_thread()


def run(runs: int, seed: int, workers: int, progress: Any = None) -> Report:
    """`runs` runs over `workers` processes. A process that hangs or dies is a finding, and the next takes over."""
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    total = Report()

    def start(first: int, offset: int) -> dict[str, Any]:
        at = context.Value("q", first)
        process = context.Process(target=_work, args=(first, runs, workers, seed, at, results), daemon=True)
        process.start()
        return {"process": process, "at": at, "seen": (first, time.monotonic()), "offset": offset}

    going = [start(offset, offset) for offset in range(min(workers, runs))]
    while going:
        time.sleep(0.05)
        _collect(results, total)
        for worker in list(going):
            index, process = worker["at"].value, worker["process"]
            if index != worker["seen"][0]:
                worker["seen"] = (index, time.monotonic())
            lost = process.is_alive() and time.monotonic() - worker["seen"][1] > _LOST_S
            if lost:
                process.kill()
            if process.is_alive() and not lost:
                continue
            process.join()
            going.remove(worker)
            if process.exitcode != 0:
                what = "hang" if lost else f"crash ({process.exitcode})"
                total.findings.append(f"run {index} of seed {seed}: {what}")
                if index + workers < runs:
                    going.append(start(index + workers, worker["offset"]))
        if progress:
            progress(total)
    time.sleep(0.2)
    _collect(results, total)
    return total


def _collect(results: Any, total: Report) -> None:
    while not results.empty():
        part = results.get()
        total.runs += part.runs
        total.findings += part.findings
        total.worst_s = max(total.worst_s, part.worst_s)
        for name in ("decoded", "refused", "reached"):
            getattr(total, name).update(getattr(part, name))
