"""`ml_models_client` against the running service: enrols, verifies, and sends again what was lost, once."""

import asyncio
import typing
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from django.contrib.auth.models import User
from rest_framework.authtoken.models import Token
from rest_framework.test import APIClient

import ml_models_client as faces
from devstack.turned import shown
from ml_models import services
from ml_models.api.schema import WAITS
from ml_models.models import EnsembleConfig, Group, Identification, Reference, Subject, Verification
from ml_models.services import challenges, groups
from ml_models_client import answers, client
from tests.api.identify.conftest import block
from tests.conftest import Portraits
from tests.support.challenges import TURNED
from tests.support.openapi import document
from tests.support.pictures import encoded, opened
from tests.support.served import rewrite

pytestmark = pytest.mark.django_db(transaction=True)


class Losing(httpx.HTTPTransport):
    """A network that carries requests and loses the first answers."""

    def __init__(self, answers_lost: int) -> None:
        super().__init__()
        self.left = answers_lost

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        response = super().handle_request(request)
        if self.left:
            self.left -= 1
            response.read()
            raise httpx.ReadError("the connection is gone")
        return response


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    waits: list[float] = []
    monkeypatch.setattr(client, "sleep", waits.append)
    return waits


@pytest.fixture
def connect(served: EnsembleConfig, service: APIClient, live_server: Any) -> Callable[..., faces.Client]:
    token = Token.objects.get(user__username="kiosk").key
    return lambda **more: faces.Client(live_server.url, token, scheme="Token", **more)


@pytest.mark.parametrize(
    "host_id", ["a/../child-1", "../subjects/child-1", "child-1/", "..", ".", "", "a//b", "/child-1"]
)
def test_an_id_that_would_lead_to_anothers_address_is_not_sent(
    connect: Callable[..., faces.Client], host_id: str
) -> None:
    Subject.objects.create(subject_id="child-1")
    groups.put(services.NOBODY, "child-1", [])
    asks: list[Callable[[str], faces.Call[Any]]] = [
        faces.erase_subject,
        faces.get_subject,
        faces.erase_group,
        faces.get_group,
        faces.change_group,
        lambda group_id: faces.put_group(group_id, []),
        faces.erase_reference,
    ]
    with connect() as door:
        for ask in asks:
            with pytest.raises(ValueError, match="between slashes"):
                door.send(ask(host_id))
    assert Subject.objects.exists()
    assert Group.objects.exists()


def test_one_id_in_place_of_a_list_makes_no_subjects_of_its_letters() -> None:
    asks: list[Callable[[], faces.Call[Any]]] = [
        lambda: faces.put_group("bus", "child-1"),
        lambda: faces.change_group("bus", add="child-1"),
        lambda: faces.change_group("bus", remove="child-1"),
    ]
    for ask in asks:
        with pytest.raises(TypeError, match=r"\['child-1'\]"):
            ask()
    picture: Any = b"a picture before the roster"
    for call in (faces.identify, faces.ask_identify_challenge):
        with pytest.raises(TypeError, match="Pictures come behind"):
            call(picture)


def test_a_lost_answer_is_fetched_again_and_nothing_is_done_twice(
    connect: Callable[..., faces.Client], portraits: Portraits, slept: list[float]
) -> None:
    with connect(transport=Losing(2)) as door:
        enrolled = door.send(faces.enroll("bus 7/child-1", portraits.eileen_collins))
        assert slept == [1.0, 2.0]
        assert enrolled["reference_id"] == str(Reference.objects.get().pk)
    with connect(transport=Losing(1)) as door:
        call = faces.verify("bus 7/child-1", portraits.grace_hopper, portraits.grace_hopper)
        answer = door.send(call)
        assert (answer["decision"], door.send(call)) == ("no_match", answer)
        assert Verification.objects.count() == 1
        assert door.send(faces.verify("bus 7/child-1", portraits.eileen_collins))["decision"] == "match"
        assert (
            door.send(faces.get_subject("bus 7/child-1"))["references"][0]["reference_id"] == enrolled["reference_id"]
        )
        small = encoded(opened(portraits.eileen_collins).resize((256, 256)))  # docs/mobile.md says so
        assert door.send(faces.verify("bus 7/child-1", small))["decision"] == "match"
        door.send(faces.erase_reference(enrolled["reference_id"]))
        assert door.send(faces.erase_subject("bus 7/child-1"))["references_erased"] == 0
    with connect(transport=Losing(5)) as door, pytest.raises(httpx.ReadError):
        door.send(faces.get_subject("nobody"))


def test_refusals_are_problems_and_only_what_may_end_otherwise_is_repeated(
    connect: Callable[..., faces.Client], portraits: Portraits, slept: list[float], settings: Any
) -> None:
    with connect() as door:
        with pytest.raises(faces.Problem) as refused:
            door.send(faces.enroll("child-1", b"no picture"))
        assert (refused.value.code, refused.value.status, bool(refused.value.detail)) == (
            "undecodable_image",
            422,
            True,
        )
        assert slept == []
        EnsembleConfig.objects.update(state="retired")
        with pytest.raises(faces.Problem) as refused:
            door.send(faces.verify("child-1", portraits.eileen_collins))
        assert (refused.value.code, slept) == ("not_ready", [5.0] * 4)
    assert {*client.WAITS, "locked_out"} == set(WAITS)


def test_what_a_proxy_says_in_the_service_s_place_is_a_problem_and_sent_again_where_nothing_came(
    slept: list[float],
) -> None:
    page = {"text": "<html>", "headers": {"Content-Type": "text/html"}}
    told: list[tuple[int, dict[str, Any], list[float]]] = [
        (502, page, [1.0, 2.0, 4.0, 8.0]),
        (504, {"json": None}, [1.0, 2.0, 4.0, 8.0]),
        (403, {"json": [1, 2]}, []),
        (500, {"json": "no"}, []),
        (200, page, []),  # a network that wants a log-in first
        (200, {"json": 7}, []),
        (200, {"text": '{"verification_id": "a'}, []),
    ]
    for status, answer, waits in told:
        transport = httpx.MockTransport(lambda _, status=status, answer=answer: httpx.Response(status, **answer))
        with faces.Client("http://proxy", "key", transport=transport) as door, pytest.raises(faces.Problem) as refused:
            door.send(faces.verify("child-1", b"picture"))
        assert (refused.value.code, refused.value.status, slept) == ("unknown", status, waits), answer
        slept.clear()
    broken = httpx.MockTransport(lambda _: httpx.Response(200, content=b"no", headers={"Content-Encoding": "gzip"}))
    with faces.Client("http://proxy", "key", transport=broken) as door, pytest.raises(httpx.DecodingError):
        door.send(faces.get_subject("child-1"))
    assert len(slept) == 4


def test_a_challenge_is_answered_asynchronously(
    connect: Callable[..., faces.Client],
    portraits: Portraits,
    live_server: Any,
    monkeypatch: pytest.MonkeyPatch,
    grant: Callable[..., Any],
) -> None:
    rewrite(liveness={"turned": TURNED}, identification=block())
    grant(User.objects.get(username="kiosk"), "identify_group", "identify_subject", "write_group")
    monkeypatch.setattr(challenges, "draw", lambda: ["front", "left", "right"])
    token = Token.objects.get(user__username="kiosk").key

    async def attempt() -> tuple[faces.VerifyAnswer, faces.IdentifyAnswer]:
        async with faces.AsyncClient(live_server.url, token, scheme="Token") as door:
            assert (await door.send(faces.assess_quality(portraits.eileen_collins, "enroll")))["acceptable"]
            await door.send(faces.enroll("child-1", portraits.eileen_collins))
            challenge = await door.send(faces.ask_challenge("verify", "child-1"))
            pictures = shown(portraits.eileen_collins, [step["step"] for step in challenge["steps"]])
            verified = await door.send(faces.verify("child-1", *pictures, challenge=challenge))
            await door.send(faces.put_group("bus/7", ["child-1"]))
            challenge = await door.send(faces.ask_identify_challenge("bus/7"))
            return verified, await door.send(faces.identify("bus/7", *pictures, challenge=challenge))

    verified, identified = asyncio.run(attempt())
    assert (verified["decision"], verified["live"]) == ("match", "yes")
    assert (identified["subject_id"], identified["live"]) == ("child-1", "yes")


def test_rosters_are_kept_and_searched(
    connect: Callable[..., faces.Client], portraits: Portraits, grant: Callable[..., Any]
) -> None:
    rewrite(identification=block())
    rights = ("identify_group", "identify_subject", "read_group", "write_group", "erase_group")
    grant(User.objects.get(username="kiosk"), *rights)
    picture = portraits.eileen_collins
    with connect() as door:
        door.send(faces.enroll("child 1", picture))
        made = door.send(faces.put_group("bus 7/north", ["child-2", "child 1"]))
        assert (made["size"], made["not_enrolled"]) == (2, ["child-2"])
        found = door.send(faces.identify("bus 7/north", picture, picture, capture_point="front door"))
        assert (found["decision"], found["subject_id"], found["roster_size"]) == ("match", "child 1", 2)
        row = Identification.objects.get()
        assert (str(row.pk), row.capture_point, row.frames) == (found["identification_id"], "front door", 2)
        assert door.send(faces.identify(["child 1", "child-3"], picture))["subject_id"] == "child 1"
        assert door.send(faces.identify(("child 1",), picture))["roster_size"] == 1
        challenge = door.send(faces.ask_identify_challenge(["child 1", "child-3"]))
        assert challenge["steps"]
        changed = door.send(faces.change_group("bus 7/north", add=["child-3"], remove=["child-2"]))
        assert changed["subject_ids"] == ["child 1", "child-3"]
        assert door.send(faces.get_group("bus 7/north")) == changed
        door.send(faces.erase_group("bus 7/north"))
        with pytest.raises(faces.Problem) as gone:
            door.send(faces.identify("bus 7/north", picture))
        assert gone.value.code == "not_found"


def test_the_types_are_those_of_the_document() -> None:
    for name, kind in vars(answers).items():
        if not typing.is_typeddict(kind):
            continue
        schema = document()["components"]["schemas"][name]
        assert set(kind.__annotations__) == set(schema["properties"]), name
        assert kind.__required_keys__ == set(schema["required"]), name
