"""The whole story end to end, printed: enrol two people, then verify good, poor, wrong and broken pictures; another
version goes live meanwhile, and is left again.

Runs against the service at DEVSTACK_URL with DEVSTACK_API_KEY, which `make demo` sets. Exits with 1 when an answer is
not the one expected.
"""

import io
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import Any

import numpy as np
import requests
import yaml
from PIL import Image, ImageEnhance, ImageFilter, ImageStat

from devstack.portraits import eileen_collins, grace_hopper
from devstack.state import ROOT
from devstack.turned import printed, shown
from ml_models.engine.align import TEMPLATE, similarity_transform
from ml_models.engine.detect import Detector
from ml_models.engine.types import DetectedFace

PHOTOS = ROOT.parent / "shared" / "data" / "faces_cc0"
# either in place of the other: everybody is embedded anew beside, while the one before answers
VERSIONS = (5, 10)
PATIENCE_S = 120
ROW = "{:58} {:18} {:>8} {:>9} {:>6}  {}"


@dataclass(frozen=True)
class Attempt:
    """A picture to verify, and the decision or error code that is right for it."""

    asked: str
    subject: str
    picture: bytes
    expected: str


def main() -> int:
    service = Service(os.environ["DEVSTACK_URL"], os.environ["DEVSTACK_API_KEY"])
    print(f"The demo at {service.url}. The model pack is for development, demos and tests only;")
    print("its third member is SFace, standing in for AdaFace until the author's weights are converted.\n")
    run = token_hex(2)
    first, second, attempts = story(run)
    try:
        for subject, picture in (first, second):
            answer = service.post("enroll", subject, picture)
            print(f"enrol {subject}: {answer.get('code') or 'reference ' + answer['reference_id']}")
        print("\n" + ROW.format("asked", "answer", "score", "threshold", "ms", ""))
        right = [report(service, attempt) for attempt in attempts]
        right += [*challenged(service, second[0]), *searched(service, f"demo-bus-{run}", first, second)]
        right += changed(service, *second)
    finally:
        for subject, _ in (first, second):
            service.erase(subject)
    print(f"\n{sum(right)} of {len(right)} answers as expected; both people erased again.")
    return 0 if all(right) else 1


class Service:
    """The calls of the mobile app."""

    def __init__(self, url: str, api_key: str) -> None:
        self.url = url
        self._session = requests.Session()
        self._session.headers["Authorization"] = f"Api-Key {api_key}"

    def post(self, call: str, subject: str, *pictures: bytes, **fields: str) -> dict[str, Any]:
        answer = self._session.post(
            f"{self.url}/api/v1/face/{call}",
            data={"subject_id": subject, **fields},
            files=[("image", ("photo.jpg", picture)) for picture in pictures],
            timeout=60,
        )
        return dict(answer.json())

    def challenge(self, subject: str) -> tuple[dict[str, str], list[str]]:
        """What an attempt sends with its pictures, and the steps that these have to show."""
        answer = self._session.post(
            f"{self.url}/api/v1/face/liveness/challenges", json={"purpose": "verify", "subject_id": subject}, timeout=60
        ).json()
        return {name: answer[name] for name in ("challenge_id", "nonce")}, [one["step"] for one in answer["steps"]]

    def operate(self, call: str) -> None:
        """An operator's call; one that is refused shows in what is verified next."""
        self._session.post(f"{self.url}/api/v1/face/{call}", json={}, timeout=60)

    def version(self) -> int:
        """The active one."""
        return int(self._session.get(f"{self.url}/api/v1/face/config", timeout=60).json()["version"])

    def put_group(self, group: str, *subjects: str) -> None:
        self._session.put(f"{self.url}/api/v1/face/groups/{group}", json={"subject_ids": subjects}, timeout=60)

    def identify(self, group: str, *pictures: bytes) -> dict[str, Any]:
        files = [("image", ("photo.jpg", picture)) for picture in pictures]
        address = f"{self.url}/api/v1/face/identify"
        return dict(self._session.post(address, data={"group": group}, files=files, timeout=60).json())

    def erase_group(self, group: str) -> None:
        self._session.delete(f"{self.url}/api/v1/face/groups/{group}", timeout=60)

    def erase(self, subject: str) -> None:
        self._session.delete(f"{self.url}/api/v1/face/subjects/{subject}", timeout=60)


def report(service: Service, attempt: Attempt) -> bool:
    return verify(service, attempt.subject, attempt.asked, attempt.expected, [attempt.picture])


def verify(service: Service, subject: str, asked: str, expected: str, pictures: Sequence[bytes], **fields: str) -> bool:
    return row(f"{subject}: {asked}", expected, lambda: service.post("verify", subject, *pictures, **fields))


def row(asked: str, expected: str, ask: Callable[[], dict[str, Any]]) -> bool:
    """Ask, print the row, and say whether the answer was the expected one: a decision, the name of who was found, or a
    code."""
    began = time.perf_counter()
    answer = ask()
    took_ms = (time.perf_counter() - began) * 1000
    named = answer.get("subject_id") if "identification_id" in answer else None
    given = named or answer.get("decision") or answer.get("code") or "?"
    score, threshold = (f"{answer[key]:.2f}" if key in answer else "–" for key in ("score", "threshold"))
    right = given == expected
    verdict = "✓" if right else f"✗ expected {expected}"
    print(ROW.format(asked, given, score, threshold, f"{took_ms:.0f}", verdict))
    return right


def searched(service: Service, group: str, first: tuple[str, bytes], second: tuple[str, bytes]) -> Iterator[bool]:
    """Who of a roster is it? And a face that would come onto it under two names."""
    try:
        service.put_group(group, first[0], second[0])
        yield row(f"{group}: who is this", second[0], lambda: service.identify(group, second[1]))
        twin = f"{second[0]}-again"
        yield row(
            f"{group}: enrol this face under another name",
            "duplicate_face",
            lambda: service.post("enroll", twin, second[1], group=group),
        )
        service.put_group(group, first[0])
        yield row(f"{group}: who is this, of others", "no_match", lambda: service.identify(group, second[1]))
    finally:
        service.erase_group(group)


def changed(service: Service, subject: str, picture: bytes) -> Iterator[bool]:
    """Another version goes live while the one before answers, and is rolled back."""
    before = service.version()
    other = next(version for version in VERSIONS if version != before)

    def verified() -> dict[str, Any]:
        answer = service.post("verify", subject, picture)
        return {**answer, "decision": f"{answer.get('decision')}, version {answer.get('config_version')}"}

    def live() -> dict[str, Any]:
        until = time.monotonic() + PATIENCE_S
        while (answer := verified())["decision"] == f"match, version {before}" and time.monotonic() < until:
            time.sleep(0.5)
        return answer

    service.operate(f"configs/{other}/validate")  # one that was live before is no draft, and needs none
    service.operate(f"configs/{other}/activate")
    try:
        yield row(f"version {other} goes live in place of {before}", f"match, version {other}", live)
    finally:
        service.operate(f"configs/{other}/rollback")
    yield row(f"back to version {before}", f"match, version {before}", verified)


def challenged(service: Service, subject: str) -> Iterator[bool]:
    """Challenges of the subject whose portrait is Eileen Collins's. The head is turned by software: the service cannot
    see that no camera took it."""
    own, other = eileen_collins(), grace_hopper()
    answer, steps = service.challenge(subject)
    pictures = shown(own, steps)
    yield verify(service, subject, "a challenge, the head turned", "match", pictures, **answer)
    yield verify(service, subject, "the same challenge again", "challenge_used", pictures, **answer)
    answer, steps = service.challenge(subject)
    yield verify(service, subject, "a challenge, one photo", "challenge_failed", [own] * len(steps), **answer)
    answer, steps = service.challenge(subject)
    yield verify(service, subject, "a challenge, a print turned", "challenge_failed", printed(own, steps), **answer)
    answer, steps = service.challenge(subject)
    mixed = [*shown(own, steps)[:-1], shown(other, steps)[-1]]
    yield verify(service, subject, "a challenge, two people", "challenge_failed", mixed, **answer)


def story(run: str) -> tuple[tuple[str, bytes], tuple[str, bytes], list[Attempt]]:
    """Two people to enrol, and the attempts. A run has its own ids: who was erased lately is not enrolled again."""
    collins, hopper = eileen_collins(), grace_hopper()
    second = (f"demo-collins-{run}", collins)
    attempts = genuine(second[0], opened(collins), "same photo, changed")
    photos = sorted(PHOTOS.glob("cc0_*.jpg"))  # all of one person
    if photos:
        first = (f"demo-lisa-{run}", photos[0].read_bytes())
        for photo in photos[1:]:
            attempts.append(Attempt(f"{photo.stem}, another photo", first[0], photo.read_bytes(), "match"))
        attempts += genuine(first[0], opened(photos[-1].read_bytes()), "another photo")
    else:
        print(f"{PHOTOS.name} is not here: genuine attempts use the enrolled photo, changed.\n")
        first = (f"demo-hopper-{run}", hopper)
        attempts += genuine(first[0], opened(hopper), "same photo, changed")
    impostor = hopper if photos else collins
    known = opened(first[1])
    attempts += [
        Attempt("another person", second[0], hopper, "no_match"),
        Attempt("another person", first[0], impostor, "no_match"),
        Attempt(f"the face of {first[0]}", second[0], first[1], "no_match"),
        Attempt("two faces", first[0], encoded(beside(known, head(opened(collins)))), "multiple_faces"),
        Attempt("no face", first[0], encoded(Image.linear_gradient("L").resize((480, 640))), "no_face_found"),
        Attempt("a broken file", first[0], first[1][: len(first[1]) // 2], "undecodable_image"),
        Attempt("no picture at all", first[0], b"hello", "undecodable_image"),
        Attempt("nobody enrolled under this id", "demo-nobody", collins, "not_enrolled"),
    ]
    return first, second, attempts


def genuine(subject: str, photo: Image.Image, what: str) -> list[Attempt]:
    """The same person under worse and worse conditions."""
    changes: list[tuple[str, Callable[[Image.Image], bytes]]] = [
        ("as it is", encoded),
        ("turned by EXIF", turned),
        ("dim", dim),
        ("blurred", blurred),
        ("recompressed", lambda image: encoded(image, quality=25)),
    ]
    return [Attempt(f"{what}, {name}", subject, change(photo), "match") for name, change in changes]


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data)).convert("RGB")


def encoded(image: Image.Image, quality: int = 92, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, "JPEG", quality=quality, **options)
    return buffer.getvalue()


def turned(image: Image.Image) -> bytes:
    """Stored lying on its side, with the EXIF tag that says so, as phones do."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(image.transpose(Image.Transpose.ROTATE_90), exif=exif.tobytes())


def dim(image: Image.Image, luminance: float = 38.0) -> bytes:
    """As if the light were low: mean luminance at most 40, of the whole picture and of the face."""
    x, y, w, h = the_face(image).box
    parts = (image, image.crop((int(x), int(y), int(x + w), int(y + h))))
    brightest = max(ImageStat.Stat(part.convert("L")).mean[0] for part in parts)
    return encoded(ImageEnhance.Brightness(image).enhance(min(1.0, luminance / brightest)))


def blurred(image: Image.Image, crop_px: float = 2.2) -> bytes:
    """Out of focus: a Gaussian of at least 2 px on the networks' 112×112 crop."""
    matrix = similarity_transform(the_face(image).landmarks, TEMPLATE)
    crop_px_per_px = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    return encoded(image.filter(ImageFilter.GaussianBlur(crop_px / crop_px_per_px)))


def the_face(image: Image.Image) -> DetectedFace:
    """The picture's largest face."""
    return Detector(detector_file()).detect(np.asarray(image))[0]


def detector_file() -> Path:
    """The pack's detector, from the cache that the service filled."""
    sha256 = yaml.safe_load((ROOT / "config" / "artifacts.yaml").read_text())["artifacts"]["yunet_2023mar"]["sha256"]
    return Path(os.environ["ML_MODELS_CACHE_DIR"]) / f"{sha256}.onnx"


def head(image: Image.Image) -> Image.Image:
    """The upper middle of a portrait, where the head is."""
    return image.crop((image.width // 5, 0, 4 * image.width // 5, 3 * image.height // 5))


def beside(left: Image.Image, right: Image.Image) -> Image.Image:
    height = max(left.height, right.height)
    scaled = [image.resize((round(image.width * height / image.height), height)) for image in (left, right)]
    canvas = Image.new("RGB", (scaled[0].width + scaled[1].width, height))
    canvas.paste(scaled[0], (0, 0))
    canvas.paste(scaled[1], (scaled[0].width, 0))
    return canvas


if __name__ == "__main__":
    sys.exit(main())
