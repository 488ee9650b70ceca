"""What a file is that is no network: told by its first bytes, with what to do about it."""

from __future__ import annotations

_BEGINNINGS = (
    (b"version https://git-lfs", "a Git LFS pointer in the place of the file: run git lfs pull"),
    (b"PK\x03\x04", "a zip archive"),
    (b"\x1f\x8b", "packed by gzip: unpack it"),
    (b"BZh", "packed by bzip2: unpack it"),
    (b"\xfd7zXZ\x00", "packed by xz: unpack it"),
    (b"7z\xbc\xaf", "a 7z archive: unpack it"),
    (b"\x89HDF", "an HDF5 file, as Keras writes it"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"\x80", "a pickle"),
)
_TEXT = bytes((9, 10, 13, *range(32, 127)))
_LOOKED_AT = 512


def what_it_is(data: bytes) -> str:
    """In words that complete "It is …"; "no kind of file that is known here" where nothing tells."""
    if not data:
        return "empty: fetch it again"
    for beginning, kind in _BEGINNINGS:
        if data.startswith(beginning):
            return kind
    if data[257:262] == b"ustar":
        return "a tar archive: unpack it"
    start = data[:_LOOKED_AT].removeprefix(b"\xef\xbb\xbf").lstrip()
    if start[:1] == b"<":
        return "a web page, perhaps of an error or a log-in: fetch the file itself"
    if not data[:_LOOKED_AT].translate(None, _TEXT):
        return "a text: fetch the file itself"
    return "no kind of file that is known here"
