"""One process with threads serves all cores: onnxruntime releases the GIL, and the weights are held once. Its event
loop reads requests and refuses; Django runs in the threads of `backend_easy.front`: docs/decisions/server.md."""

import gc
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

bind = os.environ.get("BIND", f"127.0.0.1:{os.environ.get('PORT', '8000')}")
worker_class = "backend_easy.worker.Worker"
workers = int(os.environ.get("WEB_CONCURRENCY", "1"))
# below, `post_worker_init` and `worker_exit` do what the application does where only the lifespan protocol tells it
asgi_lifespan = "off"
# as the networks' libraries are tested with
asgi_loop = "asyncio"
# a process that says nothing for so long hangs, and is replaced
timeout = int(os.environ.get("WEB_TIMEOUT", "60"))
# longer than any proxy in front keeps an idle connection, or it sends a request into one that is closing: nginx 60 s
keepalive = int(os.environ.get("WEB_KEEPALIVE", "75"))
graceful_timeout = int(os.environ.get("WEB_GRACEFUL_TIMEOUT", "25"))
accesslog = None
# a thread and a socket file in the process that forks, for a tool we do not use
control_socket_disable = True

_METRICS = "PROMETHEUS_MULTIPROC_DIR"


def on_starting(server: Any) -> None:
    """The processes' counts meet in one folder, so that any of them answers /metrics for all."""
    if _METRICS not in os.environ:
        os.environ[_METRICS] = server.metrics_folder = tempfile.mkdtemp(prefix="ml_models-metrics-")
    folder = Path(os.environ[_METRICS])
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.glob("*.db"):  # an earlier server's: a process of today may have the number of one of its
        left.unlink()


def on_exit(server: Any) -> None:
    if folder := getattr(server, "metrics_folder", None):
        shutil.rmtree(folder, ignore_errors=True)


def child_exit(server: Any, worker: Any) -> None:
    """A gauge of a process that is gone says nothing any more; its counts stay, or the sums would fall."""
    with suppress(ImportError):
        from prometheus_client import multiprocess

        multiprocess.mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]


@contextmanager
def _alive(worker: Any) -> Iterator[None]:
    """Tell the server meanwhile that this process lives: a download of minutes is no hang."""
    loaded = threading.Event()

    def tell() -> None:
        while not loaded.wait(1.0):
            worker.notify()

    teller = threading.Thread(target=tell, name="alive", daemon=True)
    teller.start()
    try:
        yield
    finally:
        loaded.set()
        teller.join()


def post_worker_init(worker: Any) -> None:
    """Load the networks in the forked process, never before the fork."""
    from django.db import DatabaseError

    from ml_models import runtime

    if worker.age > workers:
        # in place of one that ended: load before accepting, the others still answer meanwhile; the active version only,
        # since another one's download keeps nobody from answering
        try:
            with _alive(worker):
                runtime.refresh(active_only=True)
        except DatabaseError as error:  # let out of here, it would end the whole server
            worker.log.warning("the database does not answer (%s); loading in the background", type(error).__name__)
    runtime.start()
    # what is imported stays: a full collection would walk it each time, a tenth of a second in which nobody is answered
    gc.collect()
    gc.freeze()


def worker_exit(server: Any, worker: Any) -> None:
    """Leave the list of serving processes, so that a rollout does not wait for us."""
    from django.db import DatabaseError

    from ml_models import runtime

    try:
        runtime.stop()
    except DatabaseError as error:
        server.log.warning("left the list of serving processes to time out: %s", type(error).__name__)
