"""Services for one run of the tests or checks: fresh, fast, and gone afterwards."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from devstack import services
from devstack.processes import Interruption, Supervisor
from devstack.state import State, service_environment


@contextmanager
def ephemeral_services() -> Iterator[dict[str, str]]:
    """The environment for Django, with services that keep nothing; services whose URL is given are used."""
    folder = Path(tempfile.mkdtemp(prefix="devstack-"))
    state = State(folder)
    state.create()
    supervisor = Supervisor(state.logs, Interruption())
    try:
        environment = service_environment(state)
        environment |= services.start_missing(supervisor, state, environment, durable=False)
        yield environment
    finally:
        supervisor.stop()
        shutil.rmtree(folder, ignore_errors=True)
