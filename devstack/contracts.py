"""Import contracts of this project's own, for import-linter."""

from pathlib import Path
from typing import Any

from importlinter.contracts.layers import LayersContract

FAMILIES = "*_model"


class RoomsContract(LayersContract):
    """Layers in which `*_model` stands for every module of that ending, side by side: a new family needs no line."""

    def __init__(self, name: str, session_options: dict[str, Any], contract_options: dict[str, Any]) -> None:
        [container] = contract_options["containers"]
        modules = " | ".join(sorted(path.stem for path in Path(container).glob(f"{FAMILIES}.py")))
        layers = [layer.replace(FAMILIES, modules) for layer in contract_options["layers"]]
        super().__init__(name, session_options, {**contract_options, "layers": layers})
