"""The report of a language model: its surprise beside that of counting, samples, maps."""

import itertools
import math

import pytest
import torch
from tests.report.test_report import Page
from torch import nn

from neurarium import networks
from neurarium.data import text_data
from neurarium.objectives import per_step
from neurarium.report import render
from neurarium.report.language import Language
from neurarium.training import fit

TEXT = "the cat sat on the mat; a dog ran to the far end of the road. " * 60


@pytest.fixture(scope="module")
def run():
    data = text_data(TEXT, context=16)
    torch.manual_seed(0)
    model = networks.GPT(data.preprocessing.vocab, context=16, dim=24, heads=2, layers=2)
    return fit(model, data, per_step(), epochs=15, lr=0.01, verbose=False, precision="32")


def test_surprise_is_the_loss_of_the_objective(run):
    found = Language.of(run, run.data.test, "test")
    told = run.evaluate("test")
    assert found.loss == pytest.approx(told["loss"], rel=1e-4)
    assert found.right == pytest.approx(told["accuracy"], abs=1e-6)
    low, high = found.interval
    assert low < found.loss < high


def test_counting_is_what_it_says(run):
    found = Language.of(run, run.data.test, "test")
    train, test = run.data.train.tokens.tolist(), run.data.test.tokens.tolist()
    vocab = run.preprocessing.vocab
    single = [-math.log((train.count(t) + 1) / (len(train) + vocab)) for t in test[1:]]
    pairs = list(itertools.pairwise(train))
    double = [
        -math.log((pairs.count((a, b)) + 1) / (train[:-1].count(a) + vocab))
        for a, b in itertools.pairwise(test[:41])
    ]
    assert found.baselines["a token's frequency"] == pytest.approx(sum(single) / len(single))
    assert found.baselines["the token before"] < found.baselines["a token's frequency"]
    short = Language(run, "test", run.data.test.head(1), run.preprocessing, found.surprise, 0.0)
    short.rows.tokens = run.data.test.tokens[:41]
    assert short.baselines["the token before"] == pytest.approx(sum(double) / 40)


def test_a_model_that_knows_nothing_is_as_surprised_as_a_die(run):
    data = run.data

    class Uniform(nn.Module):
        def __init__(self):
            super().__init__()
            self.none = nn.Parameter(torch.zeros(()))

        def forward(self, tokens):
            return self.none + torch.zeros(*tokens.shape, data.preprocessing.vocab)

    other = fit(Uniform(), data, per_step(), max_steps=1, lr=0.1, verbose=False)
    found = Language.of(other, data.test, "test")
    assert found.loss == pytest.approx(math.log(data.preprocessing.vocab), rel=1e-5)


def test_the_page_shows_samples_surprise_and_maps(run):
    page = Page(render(run))
    for title in ("What it writes", "What surprises it", "What more context brings",
                  "Where it looks"):  # fmt: skip
        assert title in page.titles
    assert "Counted in the training text, by a token" in page.text
    assert "Perplexity" in page.text
    assert sum("attention of" in alt for alt in page.alts) == 2, "a map for each layer"
    assert page.links == [] or all(link.startswith(("data:", "#")) for link in page.links)


def test_a_recurrent_model_has_a_page_without_maps():
    data = text_data(TEXT, context=16)
    model = networks.LanguageModel(data.preprocessing.vocab, width=8, hidden=16)
    run = fit(model, data, per_step(), epochs=1, lr=0.01, verbose=False)
    titles = Page(render(run)).titles
    assert "What it writes" in titles
    assert "Where it looks" not in titles
