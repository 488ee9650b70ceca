"""What this process has counted for /metrics."""

from ml_models import metrics


def counted(name: str, **labels: str) -> float:
    """A series' value; 0 where nothing was counted yet."""
    return metrics._REGISTRY.get_sample_value(name, labels) or 0.0
