"""How fast everybody is embedded again, beside the engine alone on the same stored chips."""

from __future__ import annotations

import statistics
import time
from uuid import UUID

import psutil

from devstack.drill.report import Check, Report
from devstack.drill.stack import Stack, pool_process, wait
from devstack.drill.versions import NEW, active, embedded, forget_the_new_space, new_space, references
from devstack.state import say
from ml_models import crypto, rollouts, runtime
from ml_models.engine.align import decode_chip
from ml_models.engine.pipeline import chip_crop
from ml_models.models import Embedding, EnsembleConfig, Reference, Rollout, RolloutChunk
from ml_models.rollouts import backfill, processes

_ROUNDS = 3
_FACES = 300


def run(stack: Stack, report: Report) -> None:
    alone, one, two, shares, memory = [], [], [], [], []
    for turn in range(_ROUNDS):
        say(f"  round {turn + 1} of {_ROUNDS}: the engine, one worker, two workers …")
        forget_the_new_space(stack)
        alone.append(engine_per_s())
        shares.append(outside_the_engine())
        rate, megabytes = worker_per_s(stack)
        one.append(rate)
        memory.append(megabytes)
        second = stack.start_second_worker()
        wait(lambda: len(_workers()) == 2, 60, "the second worker")
        two.append(worker_per_s(stack)[0])
        stack.stop(second)
    report.facts |= {
        "engine alone, references a second": _rounded(alone),
        "one worker, references a second": _rounded(one),
        "two workers, references a second": _rounded(two),
        "worker's memory, MB, in the rollout's first and last third": [_rounded(pair) for pair in memory],
    }
    ratios = [worker / engine for worker, engine in zip(one, alone, strict=True)]
    scaling = [both / single for both, single in zip(two, one, strict=True)]
    report.add(
        Check("one worker ÷ the engine alone, median", statistics.median(ratios), 0.9, at_least=True),
        Check("two workers ÷ one, median", statistics.median(scaling), 1.7, at_least=True),
        Check("share of the time not in decrypt, decode, warp, embed, encrypt", statistics.median(shares), 0.05),
        Check("worker's memory, last third ÷ first third", max(last / first for first, last in memory), 1.05),
    )


def engine_per_s() -> float:
    """Chips already decrypted → decode, warp, embed: references a second on one thread, without a database."""
    config = rollouts.get_config(NEW)
    [member] = [member for member in config.members.all() if member.space == new_space()]
    network = runtime.model(member.artifact)
    some = Reference.objects.select_related("subject").order_by("pk")[:_FACES]
    owners = [crypto.Owner(row.subject_id, row.subject.subject_id) for row in some]
    chips = [crypto.open_chip(row.pk, owner, bytes(row.chip)) for row, owner in zip(some, owners, strict=True)]
    began = time.perf_counter()
    for chip in chips:
        network.embed(chip_crop(decode_chip(chip))[None], config.flip)
    return len(chips) / (time.perf_counter() - began)


def outside_the_engine() -> float:
    """The share of a chunk's time that is the database's: what `backfill.embed_chunk` takes besides making vectors.

    The chunk is a rollout's own, done in this process and then forgotten again.
    """
    config = rollouts.get_config(NEW)
    with_vectors = 0.0
    make = backfill.missing_vectors

    def timed(config: EnsembleConfig, reference: Reference) -> list[Embedding]:
        nonlocal with_vectors
        began = time.perf_counter()
        made = make(config, reference)
        with_vectors += time.perf_counter() - began
        return made

    rollout = Rollout.objects.create(config=config)
    chunk = RolloutChunk.objects.create(rollout=rollout, references=_some(), leased_until="2100-01-01T00:00Z")
    backfill.missing_vectors = timed
    try:
        began = time.perf_counter()
        backfill.embed_chunk(chunk.pk)
        took = time.perf_counter() - began
    finally:
        backfill.missing_vectors = make
        rollout.delete()
        Embedding.objects.filter(space=new_space()).delete()
    return 1 - with_vectors / took


def _some() -> list[UUID]:
    return list(Reference.objects.order_by("pk").values_list("pk", flat=True)[:_FACES])


def worker_per_s(stack: Stack) -> tuple[float, tuple[float, float]]:
    """A rollout without traffic: references a second from a tenth to nine tenths, and the worker's memory."""
    forget_the_new_space(stack)
    pool = pool_process(stack.child("worker"))
    samples: list[tuple[float, int, float]] = []
    stack.call("POST", f"configs/{NEW}/activate")
    total = references()
    while active() != NEW:
        samples.append((time.monotonic(), embedded(), _megabytes(pool)))
        time.sleep(0.25)
    steady = [sample for sample in samples if 0.1 * total <= sample[1] <= 0.9 * total]
    (began, first, _), (ended, last, _) = steady[0], steady[-1]
    third = max(1, len(steady) // 3)
    early, late = (max(m for _, _, m in part) for part in (steady[:third], steady[-third:]))
    return (last - first) / (ended - began), (early, late)


def _megabytes(process: psutil.Process) -> float:
    return float(process.memory_info().rss / 2**20)


def _workers() -> list[str]:
    return [str(process) for process in processes.live() if process.kind == "worker"]


def _rounded(values: list[float] | tuple[float, float]) -> list[float]:
    return [round(value, 1) for value in values]
