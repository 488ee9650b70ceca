"""The host's settings for a process that a test starts, and that is missed after three seconds."""

from backend_easy.settings import *  # noqa: F403
from backend_easy.settings import ML_MODELS

ML_MODELS = {**ML_MODELS, "HEARTBEAT_S": 1.0}
