import json
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

from neurarium import networks
from neurarium.networks import MLP


def parameters(model):
    return sum(p.numel() for p in model.parameters())


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.mark.parametrize("sizes", [[784, 30, 10], [5, 3], [4, 7, 6, 2]])
def test_parameters_number_inputs_plus_one_times_outputs_in_every_layer(sizes):
    expected = sum(out * (inputs + 1) for inputs, out in pairwise(sizes))
    assert parameters(MLP(sizes)) == expected
    without = sum(out * inputs for inputs, out in pairwise(sizes))
    assert parameters(MLP(sizes, bias=False)) == without


def test_without_activation_the_layers_collapse_into_one():
    model = MLP([4, 5, 6, 3], activation="identity").double()
    x = torch.randn(7, 4, dtype=torch.float64)
    matrix, shift = torch.eye(4, dtype=torch.float64), torch.zeros(4, dtype=torch.float64)
    for layer in model.layers:
        if isinstance(layer, nn.Linear):
            matrix, shift = layer.weight @ matrix, layer.weight @ shift + layer.bias
    torch.testing.assert_close(model(x), x @ matrix.T + shift)


@pytest.mark.parametrize("activation", ["relu", "tanh", "sigmoid"])
def test_forward_equals_scikit_learns_with_the_same_weights(activation):
    from sklearn.neural_network import MLPClassifier

    x = np.random.default_rng(0).normal(size=(20, 4))
    peer = MLPClassifier((6, 5), activation={"sigmoid": "logistic"}.get(activation, activation))
    peer.partial_fit(x, np.arange(20) % 3, classes=[0, 1, 2])
    model = MLP([4, 6, 5, 3], activation).double()
    linear = [layer for layer in model.layers if isinstance(layer, nn.Linear)]
    with torch.no_grad():
        for layer, weight, bias in zip(linear, peer.coefs_, peer.intercepts_, strict=True):
            layer.weight.copy_(torch.from_numpy(weight.T))
            layer.bias.copy_(torch.from_numpy(bias))
        ours = model(torch.from_numpy(x)).softmax(1)
    np.testing.assert_allclose(ours, peer.predict_proba(x), rtol=1e-9)


def test_steep_sigmoids_become_thresholds_and_stay_a_half_on_the_boundary():
    # 003's exercise: (W, b) times c; the second input lies exactly on the unit's boundary.
    model = MLP([2, 1], out="sigmoid").double()
    x = torch.tensor([[1.0, 1], [1, 2], [3, 1]], dtype=torch.float64)
    for c in (1.0, 1e3):
        with torch.no_grad():
            model.layers[0].weight.copy_(torch.tensor([[2.0, -1.0]]) * c)
            model.layers[0].bias.fill_(0)
    assert model(x).flatten().tolist() == [1, 0.5, 1]
    assert model(-x).flatten().tolist() == [0, 0.5, 0]


def test_a_small_change_of_weights_changes_the_output_linearly():
    model = MLP([3, 1], out="sigmoid").double()
    x, direction = torch.randn(1, 3, dtype=torch.float64), torch.randn(1, 3, dtype=torch.float64)
    weight = model.layers[0].weight
    before = model(x)
    before.backward()

    def error(size):
        with torch.no_grad():
            weight.add_(size * direction)
            change = model(x) - before
            weight.sub_(size * direction)
        return (change - size * (weight.grad * direction).sum()).abs().item()

    # Quadratic in the step: a tenth of the step leaves a hundredth of the error.
    assert error(1e-4) == pytest.approx(error(1e-3) / 100, rel=0.05)


def test_images_are_flattened():
    model, x = MLP([12, 5, 2]), torch.randn(3, 1, 3, 4)
    torch.testing.assert_close(model(x), model(x.flatten(1)))


def test_each_hidden_layer_may_have_its_own_activation():
    model = MLP([2, 3, 4, 5, 1], activation=["tanh", nn.ReLU(), torch.sin], out="softplus")
    kinds = [type(layer).__name__ for layer in model.layers]
    assert kinds[1::2] == ["Tanh", "ReLU", "Activation", "Softplus"]
    with pytest.raises(ValueError, match="lists 1 functions for 2 hidden layers"):
        MLP([2, 3, 4, 1], activation=["relu"])


def test_learnt_activations_are_not_shared_between_layers():
    model = MLP([2, 3, 4, 1], activation="prelu")
    slopes = [layer.weight.numel() for layer in model.layers if isinstance(layer, nn.PReLU)]
    assert slopes == [3, 4]
    copies = MLP([2, 3, 4, 1], activation=nn.PReLU())
    assert copies.layers[1].weight is not copies.layers[3].weight


@pytest.mark.parametrize(("activation", "times"), [("glu", 2), ("maxout:3", 3)])
def test_activations_that_narrow_get_a_wider_layer_before_them(activation, times):
    model = MLP([4, 5, 2], activation)
    assert model.layers[0].out_features == 5 * times
    assert model(torch.randn(3, 4)).shape == (3, 2)


def test_norm_comes_before_the_activation_and_batch_norm_takes_the_bias(unchecked):
    model = MLP([4, 5, 2], norm="batch", dropout=0.3)
    kinds = [type(layer).__name__ for layer in model.layers]
    assert kinds == ["Linear", "BatchNorm1d", "ReLU", "Dropout", "Linear"]
    assert model.layers[0].bias is None
    assert MLP([4, 5, 2], norm="layer").layers[0].bias is not None
    with pytest.raises(ValueError, match="norm must be"):
        MLP([4, 5, 2], norm="group")


def test_categories_are_embedded_and_code_zero_says_nothing():
    model = MLP([2, 3], categories=[4, 6], embedding=5)
    assert model.layers[0].in_features == 2 + 5 + 5
    rows = torch.tensor([[0.5, -1, 2, 5], [0.5, -1, 0, 0]])
    features = model.embed(rows)
    torch.testing.assert_close(features[:, :2], rows[:, :2])
    torch.testing.assert_close(features[0, 2:7], model.embeddings[0].weight[2])
    torch.testing.assert_close(features[0, 7:], model.embeddings[1].weight[5])
    assert (features[1, 2:] == 0).all()


def test_embedding_width_follows_the_cardinality():
    # 1.6 * 100^0.56 = 21.1
    with torch.device("meta"):
        model = MLP([0, 3], categories=[100, 10_000_000])
    assert [table.embedding_dim for table in model.embeddings] == [21, 600]


def test_sizes_need_two_ends():
    with pytest.raises(ValueError, match=r"inputs and outputs, got \[3\]"):
        MLP([3])


# --- building ----------------------------------------------------------------------------


def test_for_data_takes_the_ends_from_the_data_and_the_middle_from_the_string():
    model = networks.for_data("mlp:hidden=32x16,activation=tanh,dropout=0.1", (1, 8, 8), 10)
    assert model.sizes == [64, 32, 16, 10]
    assert isinstance(model.layers[1], nn.Tanh)
    assert networks.for_data("MLP:hidden=9", (4,), 1).sizes == [4, 9, 1]
    assert networks.for_data("MLP:20x10", (4,), 1).sizes == [4, 20, 10, 1]
    assert networks.for_data(model, (3,), 2) is model


def test_for_data_counts_numeric_inputs_apart_from_categories():
    model = networks.for_data("MLP", (5,), 3, categories=[4, 7])
    assert model.sizes[0] == 3
    assert model(torch.cat([torch.randn(2, 3), torch.ones(2, 2)], 1)).shape == (2, 3)


def test_an_unknown_network_or_argument_lists_what_there_is():
    with pytest.raises(ValueError, match="unknown model 'MPL'; did you mean MLP"):
        networks.for_data("MPL", (3,), 2)
    with pytest.raises(ValueError, match=r"'hiden'.*MLP takes hidden, activation, norm"):
        networks.for_data("MLP:hiden=3", (3,), 2)


EXAMPLES = [
    ("MLP:hidden=8,activation=swish:beta=2", (4,), ()),
    ("MLP:hidden=8x4,norm=batch,dropout=0.2,init=kaiming", (6,), (3, 5)),
    ("LeNet5:dropout=0.1", (1, 12, 10), ()),
    ("ResNet:depth=8,width=4", (3, 8, 8), ()),
    ("Perceptron", (4,), ()),
]


@pytest.mark.parametrize(("spec", "shape", "categories"), EXAMPLES)
def test_a_network_comes_back_from_its_configuration_through_json(spec, shape, categories):
    model = networks.for_data(spec, shape, 3, categories).eval()
    config = json.loads(json.dumps(networks.config(model)))
    again = networks.build(config).eval()
    again.load_state_dict(model.state_dict())
    x = torch.randint(0, 3, (2, *shape)).float()
    torch.testing.assert_close(again(x), model(x))
    assert networks.config(again) == config


def test_only_our_networks_are_built_from_a_file():
    with pytest.raises(
        ValueError, match=r"unknown network 'os.system'.*LeNet5, .*MLP, .*Perceptron"
    ):
        networks.build({"class": "os.system", "arguments": {"command": "true"}})
    with pytest.raises(ValueError, match="Linear is not one of the networks"):
        networks.config(nn.Linear(1, 1))


def test_an_impostor_with_a_known_name_has_no_configuration():
    class MLP(nn.Module):
        pass

    with pytest.raises(ValueError, match="not one of the networks"):
        networks.config(MLP())


def test_a_function_as_argument_cannot_be_saved_and_says_so():
    with pytest.raises(ValueError, match=r"activation of this MLP is .* build it with a name"):
        networks.config(MLP([2, 3, 1], activation=torch.sin))
    # A module given as an argument is kept as told, not as a part of the network.
    assert not any("activation" in name for name, _ in MLP([2, 3, 1], nn.PReLU()).named_modules())
