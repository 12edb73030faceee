import pytest
import torch
from torch import nn
from torch.nn import functional as F

from neurarium import networks
from neurarium.networks import LeNet5, ResNet
from neurarium.networks.convnets import ResidualBlock


def parameters(model):
    return sum(p.numel() for p in model.parameters())


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


# --- LeNet-5 -----------------------------------------------------------------------------


def test_lenet_has_the_papers_layers_with_all_maps_connected():
    # 6 (25 + 1), 16 (6 * 25 + 1) for the partial table's 1516, then the paper's 48 120, 10 164
    # and 10 (84 + 1) for the distances.
    counts = [parameters(m) for m in LeNet5().modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert counts == [156, 2416, 48120, 10164, 850]


def test_lenet_of_28_by_28_equals_the_papers_frame_of_32_by_32():
    model, x = LeNet5(), torch.randn(2, 1, 28, 28)
    first = model.convolutions[0]
    framed = F.conv2d(F.pad(x, (2, 2, 2, 2)), first.weight, first.bias)
    torch.testing.assert_close(first(x), framed)
    assert model.convolutions(x).shape == (2, 16, 5, 5)


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 9, 20), (1, 15, 15), (2, 16, 16), (1, 33, 64)])
def test_lenet_fits_images_of_any_size_from_8(shape):
    model = networks.for_data("LeNet5", shape, 7)
    assert model(torch.randn(2, *shape)).shape == (2, 7)


def test_lenet_refuses_tiny_images_and_tables():
    with pytest.raises(ValueError, match="image_size must be at least 8, got 7"):
        LeNet5(image_size=7)
    with pytest.raises(ValueError, match=r"LeNet5 reads images.*shape \(13,\); take MLP"):
        networks.for_data("LeNet5", (13,), 3)


def test_lenet_sees_a_shifted_image_as_shifted_features():
    # Both pools of 2: a shift by 4 pixels moves the features by 1, away from the edges.
    model = LeNet5()
    x = torch.zeros(1, 1, 28, 28)
    x[..., 8:16, 8:16] = torch.randn(8, 8)
    features = model.convolutions(x)
    moved = model.convolutions(x.roll(4, -1))
    torch.testing.assert_close(moved[..., 1:-1, 2:-1], features[..., 1:-1, 1:-2])


# --- ResNet ------------------------------------------------------------------------------

# He et al. (2015), table 6, in millions; exactly where we count.
PUBLISHED = {20: (269_722, 0.27), 32: (464_154, 0.46), 56: (853_018, 0.85), 110: (1_727_962, 1.7)}


@pytest.mark.parametrize("depth", PUBLISHED)
def test_resnet_has_the_published_number_of_parameters(depth):
    exact, millions = PUBLISHED[depth]
    count = parameters(ResNet(depth))
    assert count == exact
    assert count / 1e6 == pytest.approx(millions, abs=0.03)


def test_depth_counts_the_layers_with_weights():
    model = ResNet(26)
    assert sum(isinstance(m, nn.Conv2d | nn.Linear) for m in model.modules()) == 26
    with pytest.raises(ValueError, match=r"6n \+ 2 .* got 18"):
        ResNet(18)


def test_stages_halve_the_image_and_double_the_channels():
    model, x = ResNet(8, width=4).eval(), torch.randn(2, 3, 32, 32)
    shapes = []
    for block in model.blocks:
        block.register_forward_hook(lambda *call: shapes.append(tuple(call[2].shape[1:])))
    model(x)
    assert shapes == [(4, 32, 32), (8, 16, 16), (16, 8, 8)]


def test_a_block_whose_residual_is_zero_passes_its_input():
    block = ResidualBlock(4, 4).eval()
    nn.init.zeros_(block.residual[-1].weight)
    x = torch.rand(2, 4, 5, 5)
    assert torch.equal(block(x), x)


def test_the_padded_shortcut_takes_every_second_pixel_and_adds_zero_channels():
    block = ResidualBlock(4, 8, stride=2)
    x = torch.rand(2, 4, 6, 6)
    way_around = block.shortcut(x)
    assert torch.equal(way_around[:, :4], x[:, :, ::2, ::2])
    assert (way_around[:, 4:] == 0).all()
    assert not list(block.shortcut.parameters())
    assert block.residual(x).shape == way_around.shape == (2, 8, 3, 3)


def test_the_projection_shortcut_is_option_b():
    # Two projections, 16 -> 32 and 32 -> 64, each with a batch norm of 2 per channel.
    extra = 16 * 32 + 2 * 32 + 32 * 64 + 2 * 64
    assert parameters(ResNet(20, shortcut="projection")) == 269_722 + extra
    with pytest.raises(ValueError, match="shortcut must be"):
        ResidualBlock(4, 8, shortcut="none")


def test_the_pooled_shortcut_of_resnet_d_looks_at_every_pixel():
    block, x = ResidualBlock(4, 8, stride=2, shortcut="pool").eval(), torch.rand(2, 4, 5, 6)
    way_around = block.shortcut(x)
    convolution, norm = block.shortcut[1:]
    # The odd last row is a mean over two pixels, not four.
    rows = [x[:, :, i : i + 2].mean(2) for i in (0, 2, 4)]
    means = torch.stack([r.unflatten(-1, (3, 2)).mean(-1) for r in rows], 2)
    torch.testing.assert_close(way_around, norm(convolution(means)))
    assert block(x).shape == (2, 8, 3, 3)
    assert parameters(ResNet(20, shortcut="pool")) == parameters(ResNet(20, shortcut="projection"))


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (1, 9, 7)])
def test_resnet_fits_images_of_any_size(shape):
    model = networks.for_data("ResNet:depth=8,width=4", shape, 5)
    assert model(torch.randn(2, *shape)).shape == (2, 5)
    with pytest.raises(ValueError, match="ResNet reads images"):
        networks.for_data("ResNet", (13,), 3)


def test_resnet_starts_with_hes_weights():
    deviation = ResNet(20).blocks[4].residual[3].weight.std().item()
    assert deviation == pytest.approx((2 / (32 * 9)) ** 0.5, rel=0.03)
