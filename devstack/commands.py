"""The long-running processes of a deployment: `make run`, Compose and Kubernetes start the same lines."""

QUEUES = "celery,ml_models"
COMPOSE = ("docker-compose.yml", "config/compose/production.yaml")

WEB = ["gunicorn", "--config", "config/gunicorn.conf.py", "backend_easy.asgi:application"]


def worker(concurrency: int) -> list[str]:
    """Each process loads the networks for itself: the concurrency is also the number of copies."""
    quick_start = ["--without-gossip", "--without-mingle"]
    return [
        *("celery", "--app", "backend_easy", "worker", "--loglevel", "INFO"),
        *("--queues", QUEUES, "--concurrency", str(concurrency), *quick_start),
    ]


def beat(schedule_file: str) -> list[str]:
    return [
        *("celery", "--app", "backend_easy", "beat", "--loglevel", "INFO"),
        *("--schedule", schedule_file, "--pidfile", ""),
    ]
