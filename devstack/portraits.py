"""Public-domain portraits inside installed packages: Eileen Collins (NASA), Grace Hopper (US Navy)."""

from importlib.util import find_spec
from pathlib import Path

from devstack.processes import StackError

EILEEN_COLLINS = "eileen_collins.jpg"
GRACE_HOPPER = "grace_hopper.jpg"


def write_portraits(folder: Path) -> None:
    """Write both as JPEG files, unless they are there."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, read in ((EILEEN_COLLINS, eileen_collins), (GRACE_HOPPER, grace_hopper)):
        if not (folder / name).exists():
            (folder / name).write_bytes(read())


def eileen_collins() -> bytes:
    """scikit-image's astronaut, JPEG."""
    from io import BytesIO

    from PIL import Image

    jpeg = BytesIO()
    # the file itself and not skimage.data, whose import takes a second
    Image.open(_inside("skimage", "data/astronaut.png")).convert("RGB").save(jpeg, "JPEG", quality=95)
    return jpeg.getvalue()


def grace_hopper() -> bytes:
    """matplotlib's sample, JPEG."""
    return _inside("matplotlib", "mpl-data/sample_data/grace_hopper.jpg").read_bytes()


def _inside(package: str, path: str) -> Path:
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise StackError(f"{package} is not installed; `make install` does it.")
    return Path(spec.origin).parent / path
