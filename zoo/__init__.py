"""The catalogue: every architecture as a LightningModule, created by its name.

    zoo.list_models("time_series.*")
    zoo.info("FCN")
    model = zoo.create("FCN", in_channels=1, num_classes=2)

Importing this package imports neither torch nor Lightning.
"""

from typing import TYPE_CHECKING, Any

from zoo._registry import class_at, info, list_models, model_class

if TYPE_CHECKING:
    from zoo._module import ZooModule

__all__ = ["create", "info", "list_models", "restore"]


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
