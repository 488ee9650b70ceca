"""A pair list small enough for a test, of real photographs."""

import io
import zipfile
from pathlib import Path

from PIL import ImageEnhance

from tests.conftest import Portraits
from tests.support.pictures import encoded, faceless, opened

LIST = """same,a,b,light_a,light_b
1,eileen/0.jpg,eileen/1.jpg,day,dusk
1,eileen/0.jpg,eileen/2.jpg,day,day
1,grace/0.jpg,grace/1.jpg,day,dusk
1,grace/0.jpg,grace/2.jpg,day,day
0,eileen/0.jpg,grace/0.jpg,day,day
0,grace/1.jpg,eileen/1.jpg,dusk,dusk
0,eileen/1.jpg,grace/1.jpg,dusk,dusk
1,grace/0.jpg,grace/none.jpg,day,day
"""


def two_people(folder: Path, portraits: Portraits) -> list[str]:
    """Two people, three pictures each, and one without a face; the options of `evaluate` that name them."""
    root = folder / "people" / "images"
    for name, portrait in (("eileen", portraits.eileen_collins), ("grace", portraits.grace_hopper)):
        (root / name).mkdir(parents=True)
        image = opened(portrait)
        image.thumbnail((400, 400))
        for number, changed in enumerate((image, ImageEnhance.Brightness(image).enhance(0.5), image.rotate(8))):
            (root / name / f"{number}.jpg").write_bytes(encoded(changed))
    (root / "grace" / "none.jpg").write_bytes(encoded(faceless()))
    (folder / "pairs.csv").write_text(LIST)
    return ["--config", "2", "--pairs", str(folder / "pairs.csv"), "--images", str(root)]


def two_people_packed(folder: Path, portraits: Portraits) -> bytes:
    """The same, as the panel takes it."""
    root = Path(two_people(folder, portraits)[-1])
    pictures = {f"images/{path.relative_to(root)}": path.read_bytes() for path in root.rglob("*.jpg")}
    return packed(**{"pairs.csv": (folder / "pairs.csv").read_bytes(), **pictures})


def two_people_often(portraits: Portraits, pictures: int = 18) -> bytes:
    """Two people, each in so many pictures drawn from one: enough comparisons to calibrate at an FMR of 1 %, and far
    too few people for numbers that anybody should use."""
    files, lines = {}, ["same,a,b"]
    for name, portrait in (("eileen", portraits.eileen_collins), ("grace", portraits.grace_hopper)):
        image = opened(portrait)
        image.thumbnail((300, 300))
        for number in range(pictures):
            light = ImageEnhance.Brightness(image).enhance(0.6 + 0.04 * number)
            files[f"images/{name}/{number}.jpg"] = encoded(light.rotate(number % 7 - 3))
        lines += [f"1,{name}/0.jpg,{name}/{number}.jpg" for number in range(1, pictures)]
    lines += [f"0,eileen/{number}.jpg,grace/{number}.jpg" for number in range(pictures)]
    return packed(**{"pairs.csv": "\n".join(lines).encode(), **files})


def packed(**files: bytes) -> bytes:
    """A ZIP archive of these files."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as pack:
        for name, data in files.items():
            pack.writestr(name, data)
    return archive.getvalue()
