import logging.config
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from celery import Celery
from celery.signals import setup_logging, worker_process_init, worker_process_shutdown

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "backend_easy.settings")

app = Celery("backend_easy")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@setup_logging.connect
def log_as_the_web_does(**_: Any) -> None:
    """Celery would write in a form of its own."""
    from django.conf import settings

    logging.config.dictConfig(settings.LOGGING)


@worker_process_init.connect
def step_back(**_: Any) -> None:
    """Leave the cores to the web server: embedding everybody again can wait, a child before a door cannot."""
    steps = int(os.environ.get("WORKER_NICE", "10"))
    os.nice(steps)
    if os.getsid(0) == os.getppid():
        # where Linux groups tasks by session, niceness counts within the group only: step back as a group, too
        with suppress(OSError):
            Path("/proc/self/autogroup").write_text(str(steps))


@worker_process_init.connect
def start_runtime(**_: Any) -> None:
    """Load the networks in the forked child: a session made before the fork has its threads dead in the child."""
    from ml_models import runtime
    from ml_models.models import ServingProcess

    runtime.start(ServingProcess.Kind.WORKER)


@worker_process_shutdown.connect
def stop_runtime(**_: Any) -> None:
    """A worker that ends by order leaves the list of serving processes, or the panel says that it hangs."""
    from ml_models import runtime

    runtime.stop(patience_s=1)
