"""Spans of a verify, an identify or an enroll and of its steps, for OpenTelemetry, where the host has configured a
tracer provider; else nothing.

No subject, account, key, score, picture or vector is in one, nor an error's text or trace.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

try:
    from opentelemetry import trace
except ImportError:  # without the extra `tracing`
    installed = False
else:
    installed = True

_NOTHING = nullcontext()


def span(name: str) -> AbstractContextManager[None]:
    """A span named `ml_models.<name>` around one step. Of an error it has the code, and nothing else."""
    return _recorded(f"ml_models.{name}") if _wanted() else _NOTHING


def note(**facts: str | int | float) -> None:
    """Add what came of it to the span around: `ml_models.` and each name."""
    if _wanted():
        trace.get_current_span().set_attributes({f"ml_models.{name}": fact for name, fact in facts.items()})


def note_steps(timings_ms: Mapping[str, float]) -> None:
    """As `note`, for milliseconds by step: `ml_models.<step>_ms`."""
    note(**{f"{step}_ms": ms for step, ms in timings_ms.items()})


def _wanted() -> bool:
    # asked each time, not kept: the host may configure its provider after our import, and after a fork
    return installed and not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)


@contextmanager
def _recorded(name: str) -> Iterator[None]:
    tracer: Any = trace.get_tracer("ml_models")
    # the error's text and trace are not for whoever reads spans
    with tracer.start_as_current_span(name, record_exception=False, set_status_on_exception=False) as current:
        try:
            yield
        except Exception as error:
            current.set_attribute("ml_models.code", getattr(error, "code", "internal_error"))
            current.set_status(trace.StatusCode.ERROR)
            raise
