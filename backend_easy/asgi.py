"""The service for an ASGI server, behind `front`; config/gunicorn.conf.py has what `make run` and the image use.

With other servers (`uvicorn backend_easy.asgi:application`) the networks are loaded when the server says that this
process begins to serve (the lifespan protocol); one without it (Daphne) needs ML_MODELS_AUTOSTART=1.
"""

import os
from typing import Any

from asgiref.sync import sync_to_async
from django.conf import settings

from . import handler, threads

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "backend_easy.settings")
if not settings.configured:
    os.environ.setdefault("DATABASE_POOL", str(threads.CONNECTIONS))  # read by the settings

_wsgi = handler.application()  # before what follows: it sets Django up

from .arriving import Receive  # noqa: E402
from .front import Front, Send  # noqa: E402
from .wsgi_call import Scope  # noqa: E402

_front = Front(_wsgi)


async def application(scope: Scope, receive: Receive, send: Send) -> Any:
    if scope["type"] == "lifespan":
        await _live(receive, send)
    elif scope["type"] == "http":
        await _front(scope, receive, send)
    else:
        await send({"type": "websocket.close"})  # nobody here speaks it


# for servers that ask before they make a call of a request
application.refuses = _front.refuses  # type: ignore[attr-defined]


async def _live(receive: Receive, send: Send) -> None:
    from ml_models import runtime

    await receive()
    await sync_to_async(runtime.start)()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await sync_to_async(runtime.stop)()
    await send({"type": "lifespan.shutdown.complete"})
