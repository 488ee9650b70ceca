"""Import contracts of this project's own, for import-linter.

In both `*_model` stands for every module of that ending at the top of the app: a new family needs no line.
"""

from pathlib import Path
from typing import Any

from importlinter.contracts.forbidden import ForbiddenContract
from importlinter.contracts.layers import LayersContract

FAMILIES = "*_model"


def _families(package: str) -> list[str]:
    return sorted(path.stem for path in Path(package).glob(f"{FAMILIES}.py"))


class RoomsContract(LayersContract):
    """Layers, the families side by side."""

    def __init__(self, name: str, session_options: dict[str, Any], contract_options: dict[str, Any]) -> None:
        [container] = contract_options["containers"]
        families = " | ".join(_families(container))
        layers = [layer.replace(FAMILIES, families) for layer in contract_options["layers"]]
        super().__init__(name, session_options, {**contract_options, "layers": layers})


class ServingContract(ForbiddenContract):
    """What may not be imported, from the families either."""

    def __init__(self, name: str, session_options: dict[str, Any], contract_options: dict[str, Any]) -> None:
        sources = []
        for module in contract_options["source_modules"]:
            package, _, tail = module.rpartition(".")
            sources += [f"{package}.{family}" for family in _families(package)] if tail == FAMILIES else [module]
        super().__init__(name, session_options, {**contract_options, "source_modules": sources})
