"""How long a request waits for PostgreSQL: as long as a server that lives needs, and not for one that does not."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from django.db import connection
from django.db.utils import ConnectionHandler

from backend_easy import database
from backend_easy.database import ServingConnection
from ml_models.checks import check_database_log
from tests.support.blackhole import Blackhole, blackhole


@pytest.fixture
def proxied() -> Iterator[tuple[Blackhole, str]]:
    """A proxy before the tests' server, and the URL through it."""
    url = urlsplit(os.environ["DATABASE_URL"])
    with blackhole("127.0.0.1", url.port or 0) as proxy:
        yield proxy, urlunsplit(url._replace(netloc=f"{url.netloc.rpartition('@')[0]}@127.0.0.1:{proxy.port}"))
    ServingConnection._silent = False


def connect(url: str) -> ServingConnection:
    return ServingConnection.connect(url, autocommit=True)


def took_s(work: Any) -> float:
    began = time.monotonic()
    with pytest.raises(psycopg.OperationalError):
        work()
    return time.monotonic() - began


def test_a_slow_statement_of_a_server_that_lives_is_waited_for(proxied: tuple[Blackhole, str]) -> None:
    with connect(proxied[1]) as serving:
        assert serving.execute("SELECT 1 FROM pg_sleep(2.2)").fetchall() == [(1,)]
        assert serving.execute("SELECT 2").fetchone() == (2,)


def test_a_server_that_says_nothing_is_given_up_and_the_next_time_sooner(proxied: tuple[Blackhole, str]) -> None:
    proxy, url = proxied
    first, second = connect(url), connect(url)
    proxy.swallow()
    first_s = took_s(lambda: first.execute("SELECT 1"))
    assert 2 < first_s < 4
    assert first.closed
    assert took_s(lambda: second.execute("SELECT 1")) < first_s / 2
    proxy.restore()
    with connect(url) as third:
        third.execute("SELECT 1")
        assert not ServingConnection._silent


def test_a_server_that_answers_nobody_or_is_not_there_does_not_live(proxied: tuple[Blackhole, str]) -> None:
    proxy, _ = proxied
    assert database.lives("127.0.0.1", proxy.port)
    proxy.swallow()
    assert not database.lives("127.0.0.1", proxy.port)
    proxy.refuse()
    assert not database.lives("127.0.0.1", proxy.port)
    assert not database.lives("127.0.0.1", 1)
    assert not database.lives("/nowhere", 5432)


@pytest.mark.django_db
@pytest.mark.parametrize(("name", "value"), [("log_min_error_statement", "error"), ("log_error_verbosity", "default")])
def test_a_server_that_logs_failed_statements_is_warned_of(name: str, value: str) -> None:
    """PostgreSQL's log had ids of subjects, and the keys of their pseudonyms, in statements that lost a race."""
    assert check_database_log() == []
    with connection.cursor() as cursor:
        cursor.execute(f"SET LOCAL {name} = '{value}'")
    [warning] = check_database_log()
    assert (warning.id, name in (warning.hint or "")) == ("ml_models.W004", True)


@pytest.mark.parametrize(
    ("pool", "given", "statement", "lock"),
    [(12, None, "3500ms", "2s"), (0, None, "15min", "10s"), (12, 0.0, "0", "2s")],
)
def test_every_connection_has_timeouts_those_of_requests_are_short(
    pool: int, given: float | None, statement: str, lock: str
) -> None:
    entry = database.configured(os.environ["DATABASE_URL"], pool, given)
    options = {key: value for key, value in entry["OPTIONS"].items() if key != "pool"}
    with psycopg.connect(os.environ["DATABASE_URL"], **options) as one:
        shown = [one.execute(f"SHOW {name}").fetchone() for name in ("statement_timeout", "lock_timeout")]
        assert shown == [(statement,), (lock,)]
        waits = {"connect_timeout": "2", "tcp_user_timeout": "5000", "keepalives_idle": "5"}
        waits |= {"keepalives_interval": "5", "keepalives_count": "2"}
        assert waits.items() <= one.info.get_parameters().items()
    assert bool(pool) == ("pool" in entry["OPTIONS"]) == (entry["CONN_MAX_AGE"] == 0)
    bounds = entry["OPTIONS"].get("pool", {})
    assert [bounds.get(name, 0) for name in ("min_size", "max_size", "timeout")] == [pool, pool, 1.5 if pool else 0]


@pytest.mark.django_db
@pytest.mark.parametrize("pool", [8, 1, 0])
def test_a_connection_that_broke_while_it_was_idle_is_replaced_before_it_is_used(
    proxied: tuple[Blackhole, str], pool: int
) -> None:
    proxy, url = proxied
    handler = ConnectionHandler({"default": database.configured(url, pool, None)})
    served: Any = handler["default"]

    def ask() -> Any:
        with served.cursor() as cursor:
            cursor.execute("SELECT 1")
            return cursor.fetchone()

    try:
        assert ask() == (1,)
        served.close_if_unusable_or_obsolete()  # a request has ended
        if pool:
            served.pool.wait()  # until all of them are there
        proxy.restore()
        assert ask() == (1,)
    finally:
        served.close()
        if pool:
            served.close_pool()


@pytest.mark.django_db
def test_a_command_has_the_timeouts_of_a_job() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SHOW statement_timeout")
        assert cursor.fetchone() == ("15min",)


@pytest.mark.django_db
def test_a_server_that_has_said_nothing_is_not_asked_before_each_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would be a round trip each time."""
    asked: list[Any] = []
    monkeypatch.setattr(database.Pool, "check_connection", asked.append)
    handler = ConnectionHandler({"default": database.configured(os.environ["DATABASE_URL"], 1, None)})
    served: Any = handler["default"]
    try:
        for _ in range(3):
            with served.cursor() as cursor:
                cursor.execute("SELECT 1")
            served.close_if_unusable_or_obsolete()
            served.close()
        assert asked == []
    finally:
        served.close()
        served.close_pool()
