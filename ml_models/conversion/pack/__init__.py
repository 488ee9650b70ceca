"""The demo pack: model files from package registries, converted, stamped, checked against pinned hashes."""

from .build import BuiltFile, build

__all__ = ["BuiltFile", "build"]
