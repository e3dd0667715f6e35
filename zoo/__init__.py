"""The catalogue: every architecture as a LightningModule, created by its name, and trained weights to load.

    zoo.list_models("time_series.*")
    zoo.info("FCN")
    model = zoo.create("FCN", in_channels=1, num_classes=2)

    zoo.list_weights("fcn.*")
    zoo.info("fcn.gunpoint")
    logits = zoo.load("fcn.gunpoint").predict(series)

Importing this package imports neither torch nor Lightning.
"""

from typing import TYPE_CHECKING, Any

from zoo import _registry
from zoo._registry import class_at, list_models, model_class
from zoo._weights import WeightsError, card, is_weights, list_weights, load

if TYPE_CHECKING:
    from zoo._module import ZooModule

__all__ = ["WeightsError", "create", "info", "list_models", "list_weights", "load", "restore"]


def info(name: str) -> dict[str, Any]:
    """What the catalogue knows of a model, or the card of trained weights, without importing anything heavy.

    Of a model: name, class_path, family, summary (first line of the docstring), doc, and hyperparameters, a mapping
    from each argument to its annotation and default as written (default None in place of a text: required). Of
    weights, by name or by path: how to rebuild them, what they were trained on, how, and with which result.
    Raises ValueError with close matches for an unknown name.
    """
    if is_weights(name):
        return card(name)
    try:
        return _registry.info(name)
    except ValueError as error:
        known = [*list_models(), *list_weights()]
        remedy = "zoo.list_models() and zoo.list_weights() list all"
        raise ValueError(_registry.unknown("model or weights", name, known, remedy)) from error


def create(name: str, **hyperparameters: Any) -> "ZooModule":
    """A freshly initialised model.

    name is `family.Class`, or `Class` alone. Raises ValueError with close matches for an unknown name, and
    TypeError naming the argument and the accepted ones for an unknown or a missing hyper-parameter.
    """
    cls = model_class(name)
    known = info(name)["hyperparameters"]
    if extra := [key for key in hyperparameters if key not in known]:
        raise TypeError(f"{name} has no hyper-parameter {extra[0]!r}; it takes {', '.join(known)}")
    if missing := [key for key, arg in known.items() if arg["default"] is None and key not in hyperparameters]:
        raise TypeError(f"{name} needs {', '.join(missing)}; zoo.info({name!r}) describes its hyper-parameters")
    return cls(**hyperparameters)


def restore(description: dict[str, Any]) -> "ZooModule":
    """The model that a `{class_path, init_args, checkpoint}` description names, in eval mode.

    This is what an argument `{from: benchmark/model}` of a configuration becomes. Without `checkpoint` the
    architecture alone is built: its weights then come with the state_dict of the module that contains it.
    """
    import torch

    module = class_at(description["class_path"])(**description.get("init_args", {}))
    if "checkpoint" in description:
        saved = torch.load(description["checkpoint"], map_location="cpu", weights_only=True)
        module.load_state_dict(saved["state_dict"])
    return module.eval()
