"""Weights: tensors as NAME.safetensors and beside them NAME.json, the card that says how to rebuild the model.

Nothing here unpickles, and no tensor is parsed before the file's SHA-256 is that of the card. Importing this module
imports no torch.
"""

from __future__ import annotations

import fnmatch
import hashlib
import json
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo._registry import class_at, unknown

if TYPE_CHECKING:
    from torch import Tensor

    from zoo._module import ZooModule

FOLDER = Path(__file__).parent / "weights"
TENSORS, CARD = ".safetensors", ".json"
#: What `load` and `predict` need of a card, and of its input.
NEEDED = {
    "name": str,
    "class_path": str,
    "init_args": dict,
    "input": dict | list,
    "classes": list | None,
    "sha256": str,
}
NEEDED_INPUT = {"raw_shape": list, "raw_dtype": str, "dtype": str, "preprocessing": list}


class WeightsError(ValueError):
    """Weights that are refused: damaged, exchanged, or not what their card says."""


def list_weights(pattern: str = "*") -> list[str]:
    """Names of the shipped weights (`class.tag`) that match a glob."""
    names = (path.name.removesuffix(CARD) for path in FOLDER.glob(f"*{CARD}"))
    return sorted(name for name in names if fnmatch.fnmatchcase(name, pattern))


def is_weights(name: str | os.PathLike[str]) -> bool:
    """Whether a name is that of shipped weights or the path of a card or a tensor file."""
    return os.fspath(name).endswith((TENSORS, CARD)) or os.fspath(name) in list_weights()


def _card_path(name: str | os.PathLike[str]) -> Path:
    text = os.fspath(name)
    if text.endswith((TENSORS, CARD)):
        return Path(text.removesuffix(TENSORS).removesuffix(CARD) + CARD)
    if text not in list_weights():
        remedy = (
            f"zoo.list_weights() lists all, and weights of your own go by the path of their card, FOLDER/NAME{CARD}"
        )
        raise ValueError(unknown("weights", text, list_weights(), remedy))
    return FOLDER / f"{text}{CARD}"


def card(name: str | os.PathLike[str]) -> dict[str, Any]:
    """The card of shipped weights, or of a file by its path.

    Raises ValueError with close matches for an unknown name, and WeightsError for a card that is absent, broken or
    without a key that is needed.
    """
    path = _card_path(name)
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise WeightsError(f"{path}: no card to be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"{path}: a broken card ({error})") from error
    for problem in _lacking(found, NEEDED) or _lacking_of_inputs(found["input"]):
        raise WeightsError(f"{path}: a broken card ({problem})")
    return found


def inputs_of(card: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What a card says of each input of its model: one is described by itself, several in a list, each with a name."""
    described = card["input"]
    return described if isinstance(described, list) else [described]


def _lacking_of_inputs(described: Any) -> list[str]:
    if isinstance(described, dict):
        return _lacking(described, NEEDED_INPUT, "input.")
    needed = {"name": str, **NEEDED_INPUT}
    lacking = [problem for i, each in enumerate(described) for problem in _lacking(each, needed, f"input[{i}].")]
    return lacking if described else ["input is []"]


def _lacking(node: Any, needed: Mapping[str, Any], prefix: str = "") -> list[str]:
    if not isinstance(node, dict):
        return [f"expected a mapping, got {type(node).__name__}"]
    missing = [f"no key {prefix + key!r}" for key in needed if key not in node]
    return missing or [f"{prefix}{k} is {node[k]!r}" for k, kind in needed.items() if not isinstance(node[k], kind)]


def load(name: str | os.PathLike[str]) -> ZooModule:
    """The trained model of that name, in eval mode: `predict` takes raw input, `card` says what it is.

    name is one of `list_weights()`, or the path of a card or of its .safetensors file. Raises ValueError with close
    matches for an unknown name, and WeightsError, with the file and both hashes where they matter, for weights
    that are not those of the card, do not fit its class, or whose class is no ZooModule.
    """
    import torch

    path, found = _card_path(name), card(name)
    tensors = _tensors(path.with_name(path.name.removesuffix(CARD) + TENSORS), found["sha256"].lower())
    with torch.random.fork_rng(devices=[]):  # what the constructor draws is overwritten: the caller's stream stays
        model = _built(path, found)
    if problem := _misfit(model.state_dict(), tensors):
        file = path.with_name(path.name.removesuffix(CARD) + TENSORS)
        raise WeightsError(f"{file}: the tensors do not fit {found['class_path']}: {problem}")
    model.load_state_dict(tensors)
    model.card = found
    return model.eval()


def _tensors(file: Path, expected: str) -> dict[str, Tensor]:
    """The tensors of a file whose hash is the expected one; what was hashed is what is parsed."""
    import safetensors
    import safetensors.torch

    try:
        content = file.read_bytes()
    except OSError as error:
        raise WeightsError(
            f"{file}: no tensors beside the card ({error.strerror}), expected hash {expected}"
        ) from error
    actual = hashlib.sha256(content).hexdigest()
    if actual != expected:
        raise WeightsError(
            f"{file}: refused, the file is not the one of its card: expected SHA-256 {expected}, got {actual}; "
            "get both files again"
        )
    try:
        return safetensors.torch.load(content)
    except safetensors.SafetensorError as error:
        raise WeightsError(
            f"{file}: no safetensors file ({error}), though its SHA-256 is the card's, {actual}"
        ) from error


def _built(path: Path, found: Mapping[str, Any]) -> ZooModule:
    """The card's model with fresh weights, after every class that the card names was found to be a ZooModule."""
    from zoo._module import ZooModule
    from zoo._preprocessing import check, check_names

    arguments = plain(found["init_args"])
    for class_path in (found["class_path"], *_class_paths(arguments)):
        module = class_path.rpartition(".")[0]
        if not (module.startswith("zoo.") or module in sys.modules):
            told = f"import {module} first, if you trust it: nothing outside the zoo is imported on a card's word"
            raise WeightsError(f"{path}: its class is {class_path}; {told}")
        try:
            cls = class_at(class_path)
        except (ImportError, AttributeError, ValueError, TypeError) as error:
            raise WeightsError(f"{path}: no class {class_path!r} ({error})") from error
        if not (isinstance(cls, type) and issubclass(cls, ZooModule)):
            raise WeightsError(f"{path}: {class_path} is no ZooModule: nothing else is built from a card")
    try:
        for described in inputs_of(found):
            check(described)
        model: ZooModule = class_at(found["class_path"])(**arguments)
        check_names(model, found)
    except (TypeError, ValueError, RuntimeError, MemoryError) as error:
        raise WeightsError(f"{path}: {found['class_path']} cannot be built from this card: {error}") from error
    return model


def plain(node: Any) -> Any:
    """Arguments without the files and Runs that nested models once came from: the tensors hold their weights."""
    if isinstance(node, Mapping):
        origin = ("checkpoint", "from") if "class_path" in node else ()
        return {key: plain(value) for key, value in node.items() if key not in origin}
    return [plain(value) for value in node] if isinstance(node, list | tuple) else node


def _class_paths(node: Any) -> Iterator[str]:
    if isinstance(node, dict) and "class_path" in node:
        yield str(node["class_path"])
    for value in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from _class_paths(value)


def _misfit(own: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> str:
    """In which name, shape or dtype the tensors differ from a model's own; empty where they fit."""
    if missing := sorted(own.keys() - tensors.keys()):
        return f"no tensor {missing[0]!r}"
    if extra := sorted(tensors.keys() - own.keys()):
        return f"it has no {extra[0]!r}"
    for name, tensor in tensors.items():
        if (tensor.shape, tensor.dtype) != (own[name].shape, own[name].dtype):
            expected = f"{tuple(own[name].shape)} of {own[name].dtype}"
            return f"{name} is {tuple(tensor.shape)} of {tensor.dtype}, expected {expected}"
    return ""


def encode(state: Mapping[str, Tensor]) -> bytes:
    """A state_dict as the content of a safetensors file; tensors that share memory are stored once each."""
    import safetensors.torch

    return safetensors.torch.save({name: tensor.detach().cpu().contiguous().clone() for name, tensor in state.items()})


def write(folder: Path, tensors: bytes, described: Mapping[str, Any]) -> Path:
    """Writes a tensor file and then its card, with size and hash added, each whole or not at all; returns the card."""
    facts = {**described, "bytes": len(tensors), "sha256": hashlib.sha256(tensors).hexdigest()}
    text = json.dumps(facts, indent=1, ensure_ascii=False) + "\n"
    for suffix, content in ((TENSORS, tensors), (CARD, text.encode())):
        path = folder / f"{described['name']}{suffix}"
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        temporary.write_bytes(content)
        temporary.replace(path)
    return path
