"""For an ASGI server: `uvicorn backend_easy.asgi:application`. It loads the networks when the server says that this
process begins to serve (the lifespan protocol); a server without it (Daphne) needs ML_MODELS_AUTOSTART=1."""

import os
from collections.abc import Awaitable, Callable
from typing import Any

from asgiref.sync import sync_to_async
from django.conf import settings
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "backend_easy.settings")
if not settings.configured:
    os.environ.setdefault("DATABASE_POOL", "12")  # read by the settings; an ASGI server has no threads to count

_Receive = Callable[[], Awaitable[dict[str, Any]]]
_Send = Callable[[dict[str, Any]], Awaitable[None]]

_django = get_asgi_application()


async def application(scope: dict[str, Any], receive: _Receive, send: _Send) -> None:
    if scope["type"] == "lifespan":
        await _live(receive, send)
    else:
        await _django(scope, receive, send)  # type: ignore[arg-type]


async def _live(receive: _Receive, send: _Send) -> None:
    from ml_models import runtime

    await receive()
    await sync_to_async(runtime.start)()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await sync_to_async(runtime.stop)()
    await send({"type": "lifespan.shutdown.complete"})
