"""What becomes of a worker while its broker says nothing."""

from __future__ import annotations

import uuid
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.conf import settings
from kombu import Connection, Queue

from tests.support.blackhole import blackhole

TIMEOUT_S = 0.2


@pytest.mark.parametrize("settle", ["ack", "reject", "requeue"])
def test_a_task_that_could_not_be_acknowledged_takes_no_place_for_ever(settle: str) -> None:
    url = urlsplit(settings.CELERY_BROKER_URL)
    with blackhole("127.0.0.1", url.port or 0) as proxy:
        place, at, _ = url.netloc.rpartition("@")
        broker = url._replace(netloc=f"{place}{at}127.0.0.1:{proxy.port}").geturl()
        options = {"socket_timeout": TIMEOUT_S, "socket_connect_timeout": TIMEOUT_S}
        transport = settings.CELERY_BROKER_TRANSPORT
        with Connection(broker, transport=transport, transport_options=options) as connection:
            channel: Any = connection.channel()
            queue = Queue(f"test-{uuid.uuid4()}", channel=channel)
            queue.declare()
            channel.basic_qos(0, 1, False)
            connection.Producer(channel).publish({}, exchange="", routing_key=queue.name)
            message = queue.get()
            assert not channel.qos.can_consume()
            proxy.swallow()
            with pytest.raises(connection.connection_errors):
                getattr(message, settle)()
            assert channel.qos.can_consume()
            proxy.restore()
            queue.delete()
