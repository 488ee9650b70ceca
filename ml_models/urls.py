from django.urls import include, path

from .api import capture, views
from .api.fallback import fallback
from .api.monitoring import MetricsView

app_name = "ml_models"

urlpatterns = [
    path("api/v1/face/", include("ml_models.api.urls")),
    path("try/", capture.page, name="try"),
    path("healthz", views.HealthView.as_view(), name="healthz"),
    path("readyz", views.ReadyView.as_view(), name="readyz"),
    path("metrics", MetricsView.as_view(), name="metrics"),
    path("api/v1/face", fallback),
    path("healthz/", fallback),
    path("readyz/", fallback),
    path("metrics/", fallback),
]
