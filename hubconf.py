"""Entry points of torch.hub: the shipped weights, `fcn.gunpoint` as `fcn_gunpoint`.

torch.hub.load gives the model in eval mode, as zoo.load does.
"""

from typing import Any as _Any

import zoo as _zoo
from zoo._weights import inputs_of as _inputs_of

dependencies = ["torch", "lightning", "numpy", "safetensors"]


def _entry(name: str) -> object:  # a name that is imported for its type would be listed as an entry point
    card = _zoo.info(name)

    def load() -> object:
        return _zoo.load(name)

    load.__name__ = load.__qualname__ = name.replace(".", "_")
    load.__doc__ = (
        f"{card['summary']}\n\n"
        f"Trained in the benchmark {card['benchmark']} on {card['data']['class_path']}, seed {card['seed']}: "
        + ", ".join(f"{metric} {card['metrics'][metric]['value']:.4g}" for metric in card["recomputed"])
        + f".\n`predict` takes {', '.join(map(_described, _inputs_of(card)))}."
    )
    return load


def _described(given: dict[str, _Any]) -> str:
    shape = ", ".join(map(str, ("N", *given["raw_shape"])))
    return " ".join((*([given["name"]] if "name" in given else []), given["raw_dtype"], f"of shape ({shape})"))


globals().update({_name.replace(".", "_"): _entry(_name) for _name in _zoo.list_weights()})
