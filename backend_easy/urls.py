from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerView

urlpatterns = [
    path("", include("ml_models.urls")),
    path("", RedirectView.as_view(pattern_name="admin:ml_models_overview")),
    path("admin/", RedirectView.as_view(pattern_name="admin:ml_models_overview")),
    path("admin/", admin.site.urls),
    path("api/schema/", SpectacularAPIView.as_view(), name="schema"),
    # OPTIONS would look for a template to tell of the page's methods
    path(
        "api/docs/", SpectacularSwaggerView.as_view(url_name="schema", http_method_names=["get", "head"]), name="docs"
    ),
]
