"""Epochs of Fashion-MNIST: the harness beside plain loops that read from memory or through a DataLoader.

No side validates. Where a part of an epoch is timed, both sides take the same number of batches of the shuffled set.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from benchmarks.pairs import Pair, Place, Side, Work

TRAIN = 55_000  # what the data module leaves of the 60,000 for training
BATCH, PART = 128, 40  # a part of an epoch: batches of the larger network


def resnet(batches: int = PART, batch: int = BATCH) -> Any:
    """The small residual network on a part of an epoch."""
    from benchmarks.pairs._harness import config

    return config(
        "datamodules.FashionMNIST",
        "zoo.residual.ResNet2d",
        arguments={"in_channels": 1, "num_classes": 10},
        data_arguments={"batch_size": batch},
        max_epochs=1,
        limit_train_batches=batches,
    )


def perceptron() -> Any:
    """A network of 784-256-10 on a whole epoch."""
    from benchmarks.pairs._harness import config

    name = "benchmarks.pairs._networks.Perceptron"
    return config("datamodules.FashionMNIST", name, arguments={}, data_arguments={"batch_size": BATCH}, max_epochs=1)


def ours(settings: Mapping[str, Any], place: Place) -> Work:
    """An epoch, or a part of one, through the harness: from its start, the tensors in place, to the end of training."""
    from benchmarks.pairs import _harness

    done = _harness.fit(settings, [0], place)
    return replace(done, samples=min(done.samples, TRAIN))  # the last batch of a whole epoch is smaller


def from_memory(settings: Mapping[str, Any], place: Place) -> Side:
    """The plain loop on tensors in memory, in the harness's order."""
    import torch
    from torch.nn.functional import cross_entropy

    from benchmarks.pairs import _plain
    from datamodules._arrays import generator

    data = _plain.assembled(settings, 0, place.device)[2]
    data.prepare_data()
    x, y = (tensor.to(place.device) for tensor in data.load("train"))
    size = settings["data"]["init_args"]["batch_size"]
    count = settings["trainer"].get("limit_train_batches", math.ceil(len(x) / size))

    def order() -> torch.Tensor:
        return torch.randperm(len(x), generator=generator(0, "train", 0))[: count * size].to(place.device)

    def side() -> Work:
        model, optimizer, _ = _plain.assembled(settings, 0, place.device)
        batches = _plain.indexed(x, y, order, size)
        seconds = _plain.timed(model, optimizer, cross_entropy, batches, place.device)
        loss = _plain.tested(model, cross_entropy, data, place.device)
        return Work(seconds, count, min(count * size, len(x)), loss=loss)

    return side


def from_loader(settings: Mapping[str, Any], place: Place, workers: int) -> Side:
    """The plain loop on torchvision's data set with transforms, its images read one by one by a DataLoader.

    Its worker processes, with a thread each, are started before the time and kept.
    """
    import torch
    from torch.nn.functional import cross_entropy
    from torch.utils.data import DataLoader, RandomSampler, Subset
    from torchvision import datasets, transforms

    from benchmarks.pairs import _plain

    data = _plain.assembled(settings, 0, place.device)[2]
    data.prepare_data()
    transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize((data.mean,), (data.std,))])
    images = Subset(datasets.FashionMNIST(data._root(), train=True, transform=transform), range(TRAIN))
    size = settings["data"]["init_args"]["batch_size"]
    samples = min(settings["trainer"].get("limit_train_batches", TRAIN) * size, TRAIN)
    sampler = RandomSampler(images, num_samples=samples, generator=torch.Generator().manual_seed(0))
    loader = DataLoader(images, size, sampler=sampler, num_workers=workers, persistent_workers=workers > 0)

    def side() -> Work:
        model, optimizer, _ = _plain.assembled(settings, 0, place.device)
        return Work(_plain.timed(model, optimizer, cross_entropy, loader, place.device), len(loader), samples)

    return side


def best_loader(settings: Mapping[str, Any], place: Place) -> Side:
    """The better of no and two worker processes, as their second turns show."""
    choices = [from_loader(settings, place, workers) for workers in (0, 2)]
    tried = [(side(), side())[1].cost for side in choices]
    return choices[tried.index(min(tried))]


def hand_tuned(settings: Mapping[str, Any], place: Place) -> Side:
    """What is left to tune by hand on a GPU: channels last and cuDNN's search, in the harness's precision.

    The images lie on the device as they do for the harness, so that no copy is left that could block.
    """
    import torch
    from torch.nn.functional import cross_entropy

    from benchmarks.pairs import _plain

    data = _plain.assembled(settings, 0, place.device)[2]
    data.prepare_data()
    x, y = (tensor.pin_memory().to(place.device, non_blocking=True) for tensor in data.load("train"))
    x = x.contiguous(memory_format=torch.channels_last)
    size, count = settings["data"]["init_args"]["batch_size"], settings["trainer"]["limit_train_batches"]

    def side() -> Work:
        model, optimizer, _ = _plain.assembled(settings, 0, place.device)
        model.to(memory_format=torch.channels_last)
        batches = _plain.indexed(x, y, lambda: torch.randperm(len(x), device=place.device)[: count * size], size)
        before, torch.backends.cudnn.benchmark = torch.backends.cudnn.benchmark, True
        try:
            seconds = _plain.timed(model, optimizer, cross_entropy, batches, place.device)
        finally:
            torch.backends.cudnn.benchmark = before
        return Work(seconds, count, count * size)

    return side


def pair(make: Callable[[], Any], other: Callable[[Any, Place], Side], place: Place) -> tuple[Side, Side]:
    """The harness beside another side, on the same settings."""
    settings = make()
    theirs = other(settings, place)
    return partial(ours, settings, place), theirs


PART_OF_IT = f"ResNet2d on {PART} batches of {BATCH} of Fashion-MNIST"

PAIRS = (
    Pair(
        "epoch/resnet2d_memory",
        f"{PART_OF_IT}, beside a plain loop on tensors in memory",
        1.05,
        partial(pair, resnet, from_memory),
    ),
    Pair(
        "epoch/resnet2d_dataloader",
        f"{PART_OF_IT}, beside torchvision with a DataLoader (the better of 0 and 2 workers)",
        1.0,
        partial(pair, resnet, best_loader),
    ),
    Pair(
        "epoch/mlp_dataloader",
        "784-256-10 on an epoch of Fashion-MNIST, batch 128, beside torchvision with a DataLoader (0 or 2 workers)",
        0.45,
        partial(pair, perceptron, best_loader),
    ),
    Pair(
        "epoch/resnet2d_gpu",
        "ResNet2d on 100 batches of 512 of Fashion-MNIST, beside a loop tuned by hand (95 % of its throughput)",
        1 / 0.95,
        partial(pair, partial(resnet, 100, 512), hand_tuned),
        devices=("cuda",),
    ),
)
