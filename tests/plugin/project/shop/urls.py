from django.contrib import admin
from django.urls import include, path

urlpatterns = [
    path("biometrics/", include("ml_models.urls")),
    path("back-office/", admin.site.urls),
]
