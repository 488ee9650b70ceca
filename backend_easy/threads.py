"""How many threads a web process has for each kind of call. A connection to the database is kept for each, so this is
asked before Django's settings are read, and nothing of Django is in here."""

import os

from ml_models.engine.processor import cores

# as many as compute at a time: while one asks the database, the others' networks take its core too, and with one thread
# more everybody waits longer and nobody more is served; alone, one would leave its core idle
PICTURES = max(2, int(os.environ.get("ML_MODELS_SLOTS") or cores()))
OTHERS = int(os.environ.get("WEB_THREADS", "4"))
# `/readyz` and `/metrics` ask the database, which may say nothing for seconds; `/healthz` asks nobody
MONITORING, ALIVE = 2, 1

# and for loading, heartbeats, shadow scoring, and one to spare
CONNECTIONS = PICTURES + OTHERS + MONITORING + ALIVE + 4
