"""What beat, the workers and a web server do, in this thread and in order."""

from ml_models import rollouts, runtime
from ml_models.rollouts import backfill


def work_off(steps: int = 50) -> None:
    """Ticks and chunks until a tick has nothing to hand out; this process has reported itself as a web server."""
    runtime.report()
    for _ in range(steps):
        chunks = rollouts.advance()
        if not chunks:
            return
        for chunk in chunks:
            backfill.embed_chunk(chunk)
    raise AssertionError("The rollout does not come to an end.")
