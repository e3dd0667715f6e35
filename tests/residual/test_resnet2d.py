import itertools
import math

import pytest
import torch
from torch import nn
from torchvision.models.resnet import BasicBlock

from zoo.residual import BasicBlock2d, ResNet2d


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def settled(module):
    """The module in eval mode, its batch normalisations with statistics and weights that are not trivial."""
    for bn in module.modules():
        if isinstance(bn, nn.BatchNorm2d):
            for tensor, low in ((bn.running_mean, -0.5), (bn.running_var, 0.5), (bn.weight, 0.5), (bn.bias, -0.5)):
                nn.init.uniform_(tensor, low, low + 1)  # type: ignore[arg-type]
    return module.eval()


def count(in_channels, num_classes, widths):
    """Parameters by hand: 9ab or ab a convolution, 2b a batch normalisation, ac + c the linear layer."""
    total = 9 * in_channels * widths[0] + 2 * widths[0]
    for a, b in zip((widths[0], *widths), widths, strict=False):
        total += 9 * a * b + 2 * b + 9 * b * b + 2 * b
    projections = sum(a * b + 2 * b for a, b in itertools.pairwise(widths))
    return total + projections + widths[-1] * num_classes + num_classes


def test_the_default_network_has_77754_parameters():
    # stem 144 + 32; blocks 4,672, 14,528 and 57,728; head 650
    assert sum(p.numel() for p in ResNet2d(1, 10).parameters()) == 77_754


@pytest.mark.parametrize(
    ("in_channels", "num_classes", "widths"),
    [(3, 10, (16, 32, 64)), (1, 2, (5,)), (2, 7, (3, 4)), (3, 5, (6, 6, 8, 8))],
)
def test_parameters_follow_the_closed_form(in_channels, num_classes, widths):
    model = ResNet2d(in_channels, num_classes, widths)
    assert sum(p.numel() for p in model.parameters()) == count(in_channels, num_classes, widths)


def test_a_silent_residual_leaves_the_identity():
    block = settled(BasicBlock2d(4, 4, stride=1))
    nn.init.zeros_(block.residual[-1].weight)
    nn.init.zeros_(block.residual[-1].bias)
    x = torch.rand(2, 4, 7, 5)  # not negative, like everything that a ReLU hands on
    assert torch.equal(block(x), x)


def test_a_silent_residual_leaves_the_projection():
    block = settled(BasicBlock2d(4, 6, stride=2))
    nn.init.zeros_(block.residual[-1].weight)
    nn.init.zeros_(block.residual[-1].bias)
    x = torch.randn(2, 4, 8, 8)
    conv, bn = block.shortcut
    seen = torch.einsum("oc,bchw->bohw", conv.weight[:, :, 0, 0], x[:, :, ::2, ::2])
    expected = bn(seen).relu()
    torch.testing.assert_close(block(x), expected, rtol=0, atol=1e-6)  # sums of four float32 products


@pytest.mark.parametrize(("a", "b", "stride"), [(4, 4, 1), (4, 6, 1), (4, 6, 2), (4, 4, 2)])
def test_the_block_agrees_with_torchvision(a, b, stride):
    ours = settled(BasicBlock2d(a, b, stride))
    theirs = BasicBlock(a, b, stride, None if isinstance(ours.shortcut, nn.Identity) else ours.shortcut).eval()
    for name, index in {"conv1": 0, "bn1": 1, "conv2": 3, "bn2": 4}.items():
        getattr(theirs, name).load_state_dict(ours.residual[index].state_dict())
    x = torch.randn(2, a, 9, 7)
    assert torch.equal(ours(x), theirs(x))


@pytest.mark.parametrize(("height", "width"), [(28, 28), (8, 8), (9, 5), (1, 1)])
def test_every_later_stage_halves_the_size(height, width):
    model = settled(ResNet2d(1, 10, (2, 3, 4)))
    sizes = []
    for block in model.blocks:
        block.register_forward_hook(lambda module, args, y: sizes.append(tuple(y.shape[1:])))
    assert model(torch.randn(2, 1, height, width)).shape == (2, 10)
    assert sizes == [(c, math.ceil(height / 2**i), math.ceil(width / 2**i)) for i, c in enumerate((2, 3, 4))]


def test_logits_do_not_change_with_a_shift_by_the_total_stride():
    model = settled(ResNet2d(1, 10, (4, 8, 16)))
    # A last feature sees 12 pixels to every side: none sees both the patch and the border, before or after.
    image, shifted, slightly = torch.zeros(3, 1, 1, 64, 64)
    patch = torch.randn(4, 4)
    image[..., 28:32, 28:32] = shifted[..., 32:36, 24:28] = slightly[..., 29:33, 28:32] = patch
    logits = model(image)
    torch.testing.assert_close(model(shifted), logits, rtol=0, atol=1e-5)  # the order of a float32 mean of 256
    assert (model(slightly) - logits).abs().max() > 1e-3


def test_a_silent_head_guesses():
    model = ResNet2d(1, 10, (2, 3))
    nn.init.zeros_(model.head.weight)
    nn.init.zeros_(model.head.bias)
    scalars = model.step((torch.randn(8, 1, 6, 6), torch.tensor([0, 0, 1, 2, 3, 9, 9, 9])))
    assert scalars["loss"].item() == pytest.approx(math.log(10), rel=1e-6)  # float32
    assert scalars["accuracy"].item() == 2 / 8  # ties go to class 0


def test_convolutions_start_with_the_variance_of_he():
    weight = ResNet2d(1, 10, (64, 128)).blocks[1].residual[0].weight  # 9·64·128 normal numbers
    expected = math.sqrt(2 / (9 * 128))
    # The deviation of n normal numbers has a relative error of 1/sqrt(2n): four of them.
    assert weight.std().item() == pytest.approx(expected, rel=4 / math.sqrt(2 * weight.numel()))


@pytest.mark.parametrize("wrong", [{"in_channels": 0}, {"num_classes": 0}, {"widths": ()}, {"widths": (4, 0)}])
def test_impossible_sizes_are_refused(wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be at least 1"):
        ResNet2d(**{"in_channels": 1, "num_classes": 10} | wrong)


@pytest.mark.parametrize(("n", "weights"), [(3, 268_336), (5, 461_872), (9, 848_944)])
def test_deeper_networks_have_the_paper_s_weights_and_projections(n, weights):
    """6n + 2 layers as in He et al., whose shortcuts have no weights; ours have 16 · 32 + 32 · 64 of them."""
    model = ResNet2d(3, 10, blocks=n)
    layers = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert len(layers) == 6 * n + 2 + 2
    assert sum(m.weight.numel() for m in layers) == weights + 16 * 32 + 32 * 64
    assert model.blocks(torch.rand(1, 16, 32, 32)).shape == (1, 64, 8, 8)
