"""Redis as the broker, for `CELERY_BROKER_TRANSPORT`: a worker that could not acknowledge a task takes others still.

A worker holds at most so many unacknowledged tasks (its prefetch count). kombu forgets one only after Redis has heard
of it: where Redis does not answer in time, the place stays taken, and with one place the worker takes no task ever
again, although it lives and is connected (seen with kombu 5.7, Redis frozen for 20 s).
"""

from __future__ import annotations

from typing import Any

from kombu.transport import redis
from kombu.transport.virtual import QoS as Local


class QoS(redis.QoS):
    def ack(self, delivery_tag: str) -> None:
        try:
            super().ack(delivery_tag)
        except Exception:
            self._forget(delivery_tag)
            raise

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        try:
            super().reject(delivery_tag, requeue=requeue)
        except Exception:
            self._forget(delivery_tag)
            raise

    def _forget(self, delivery_tag: str) -> None:
        """Free its place here. Redis still has the task, and gives it out again after the visibility timeout; ours may
        all be done twice."""
        Local.ack(self, delivery_tag)


class Channel(redis.Channel):
    QoS = QoS


class Transport(redis.Transport):
    Channel: Any = Channel
