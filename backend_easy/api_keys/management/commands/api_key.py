from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from backend_easy.api_keys.models import DAYS, ApiKey


class Command(BaseCommand):
    help = "Make, list and revoke the API keys of kiosks. A key is printed once and cannot be shown again."

    def add_arguments(self, parser: CommandParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True, metavar="create|list|revoke")
        create = actions.add_parser("create", help="print a new key")
        create.add_argument("--user", required=True, metavar="NAME", help="the account that it acts for")
        create.add_argument("--name", required=True, help='where it is used: "front door"')
        create.add_argument(
            "--days", type=int, default=DAYS, help=f"ends by itself after so many days (default {DAYS}); 0 for never"
        )
        actions.add_parser("list", help="every key: prefix, account, name, state")
        revoke = actions.add_parser("revoke", help="end a key at once")
        revoke.add_argument("prefix", metavar="PREFIX")
        for action in actions.choices.values():
            action.add_argument("--json", action="store_true", help="print one JSON object on stdout")

    def handle(self, *args: Any, **options: Any) -> None:
        result = getattr(self, f"_{options['action']}")(options)
        if options["json"]:
            self.stdout.write(json.dumps(result))
            return
        for key in result.get("keys", [result]):
            self.stdout.write("  ".join(str(value) for value in key.values() if value))

    def _create(self, options: dict[str, Any]) -> dict[str, Any]:
        users = get_user_model()
        user = users._default_manager.filter(**{users.USERNAME_FIELD: options["user"]}).first()
        if user is None:
            raise CommandError(f"There is no account {options['user']}.")
        until = timezone.now() + timedelta(days=options["days"]) if options["days"] else None
        key, text = ApiKey.objects.issue(user, options["name"], expires_at=until)
        return {"prefix": key.prefix, "key": text}

    def _list(self, options: dict[str, Any]) -> dict[str, Any]:
        return {
            "keys": [
                {
                    "prefix": key.prefix,
                    "user": key.user.get_username(),
                    "name": key.name,
                    "revoked": "revoked" if key.revoked_at else "",
                }
                for key in ApiKey.objects.select_related("user")
            ]
        }

    def _revoke(self, options: dict[str, Any]) -> dict[str, Any]:
        if not ApiKey.objects.revoke(options["prefix"]):
            raise CommandError(f"There is no usable key {options['prefix']}.")
        return {"prefix": options["prefix"], "revoked": "revoked"}
