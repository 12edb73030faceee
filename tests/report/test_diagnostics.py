"""The verdicts on the report, and the page of their own."""

import re

import pytest
import torch
from tests.report.test_report import Page
from torch import nn

import neurarium as nr
from neurarium import report
from neurarium.learning import Backprop
from neurarium.networks import MLP
from neurarium.report import diagnostics
from neurarium.training.diagnostics import diagnose


def ring_run(width):
    torch.manual_seed(0)
    angle = torch.rand(200) * 6.2832
    ring = torch.arange(200) % 2
    points = torch.stack([angle.cos(), angle.sin()], 1) * (0.4 + 0.6 * ring)[:, None]
    data = nr.Data(
        (points[:150], ring[:150]), test=(points[150:], ring[150:]), classes=["<inner>", "$outer$"]
    )
    model = MLP([2, width, 2], activation="tanh")
    rule = Backprop("adam", lr=0.03)
    return nr.fit(model, data, rule=rule, epochs=20, verbose=False), rule


def read(text):
    page = Page(text)
    for link in [*page.links, *re.findall(r"url\(([^)]*)\)", text)]:
        assert link.startswith(("data:", "#"))
    for link in re.findall(r"url\(#([^)]*)\)", text):
        assert link in page.ids
    assert len(set(page.ids)) == len(page.ids)
    assert all(page.alts)
    assert len(text) < 3 * 2**20
    return page


def test_the_page_of_a_planar_network_shows_layers_loss_and_regions(tmp_path):
    run, rule = ring_run(2)
    path = diagnostics.write(run, diagnose(run, rule=rule, rehearsal_steps=5), tmp_path / "d.html")
    page = read(path.read_text(encoding="utf-8"))
    assert page.titles == [
        "Verdicts", "Layers", "Loss around the weights", "Decision regions", "Training",
        "All checks",
    ]  # fmt: skip
    said = " ".join(page.alts)
    for figure in ("gradient's norm", "dead units", "Size of a step", "Contours", "Decision reg"):
        assert figure in said
    assert "layers.1 sees them" in said
    assert "$10^" not in page.text  # mathematics is off, so ticks are plain numbers


def test_the_figures_are_those_of_the_diagnosis():
    run, rule = ring_run(2)
    found = diagnose(run, rule=rule, rehearsal_steps=5)
    text = diagnostics.render(run, found)
    first = found.flow.layers[0]
    assert f">{first.delta:.4g}<" in text
    assert f">{first.weight_gradient:.4g}<" in text
    assert f">{found.updates['layers.0.weight']:.4g}<" in text
    for check in found.checks:
        assert f">{check.name}<" in text
    assert text == diagnostics.render(run, diagnose(run, rule=rule, rehearsal_steps=5))


def test_verdicts_stand_in_the_report_with_what_to_do():
    run, _ = ring_run(8)
    assert "checks.</p>" in re.search(r"<h2>Diagnosis</h2>.*?</section>", report.render(run))[0]
    run.model.layers[0].bias.data.fill_(-1000)  # tanh is -1 wherever the point lies
    text = re.search(r"<h2>Diagnosis</h2>.*?</section>", report.render(run), re.DOTALL)[0]
    assert "<b>Dead units.</b>" in text
    assert "To do: lower the learning rate" in text
    assert "neurarium diagnose" in text


def test_suspicious_labels_are_listed_by_their_number_and_words():
    torch.manual_seed(0)
    x = torch.randn(600, 4)
    true = (x[:, 0] > 0).long()
    label = true.clone()
    label[::8] = 1 - label[::8]
    data = nr.Data(
        (x[:300], label[:300]), test=(x[300:], label[300:]), classes=["<no>", "yes"],
        indices={"train": range(300), "test": range(1000, 1300)},
    )  # fmt: skip
    rule = Backprop("adam", lr=0.01)
    run = nr.fit(nn.Linear(4, 2), data, rule=rule, epochs=60, verbose=False)
    page = read(diagnostics.render(run, diagnose(run, rule=rule, rehearsal_steps=0)))
    assert "Suspicious labels" in page.titles
    numbers = [int(n) - 1000 for n in re.findall("row\N{NO-BREAK SPACE}([0-9]+)", page.text)]
    flipped = [bool((label != true)[300 + n]) for n in numbers]
    assert len(flipped) >= 10
    assert sum(flipped) >= 0.9 * len(flipped)
    assert "&lt;no&gt;" in page.text


def test_a_loss_that_is_not_finite_leaves_a_page():
    run, rule = ring_run(4)
    run.model.layers[0].weight.data.fill_(float("nan"))
    page = read(diagnostics.render(run, diagnose(run, rule=rule, rehearsal_steps=5)))
    assert "Verdicts" in page.titles
    assert "not finite" in page.text


@pytest.mark.parametrize("rows", [(40, 5, 3), (40, 3)])
def test_without_objective_and_task_there_is_no_section(rows):
    data = nr.Data((torch.randn(*rows), torch.zeros(40, 5, dtype=torch.long)))
    run = nr.Run(nn.Linear(3, 5), data=data)
    assert "<h2>Diagnosis</h2>" not in report.render(run)
