# syntax=docker/dockerfile:1
# The service; `--target demo` adds what the demo model pack and the development accounts need.
FROM python:3.11-slim AS service

ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    ORT_DISABLE_TELEMETRY=1 \
    DJANGO_SETTINGS_MODULE=backend_easy.settings \
    STATIC_ROOT=/app/static \
    ML_MODELS_CACHE_DIR=/var/lib/ml_models/artifacts \
    BIND=0.0.0.0:8000

RUN groupadd --system --gid 10001 app \
 && useradd --system --uid 10001 --gid app --home-dir /var/lib/ml_models --create-home app
WORKDIR /app
COPY requirements.txt requirements-openvino.txt ./
RUN pip install --require-hashes -r requirements.txt && pip install --require-hashes --no-deps -r requirements-openvino.txt
COPY manage.py .
COPY config config
COPY backend_easy backend_easy
COPY ml_models ml_models
# the settings ask for these, and with DEBUG off for good ones; nothing of them stays in the image
RUN DEBUG=1 SECRET_KEY=build DATABASE_URL=postgres://build@build/build REDIS_URL=redis://build ML_MODELS_KEYSET=build \
    python manage.py collectstatic --noinput
# by number: an orchestrator that demands another user than root can tell
USER 10001:10001
EXPOSE 8000
# a worker that shuts down warmly finishes its chunk
STOPSIGNAL SIGTERM
CMD ["gunicorn", "--config", "config/gunicorn.conf.py", "backend_easy.asgi:application"]

FROM service AS demo
USER root
COPY requirements-dev.txt .
RUN pip install --require-hashes -r requirements-dev.txt
COPY devstack devstack
ENV DEVSTACK_DIR=/var/lib/ml_models/devstack
USER 10001:10001
CMD ["python", "-m", "devstack.prepare"]

# what `docker build .` makes when no target is named
FROM service
