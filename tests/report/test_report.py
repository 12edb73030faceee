import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import neurarium as nr
from neurarium import networks, report
from neurarium.objectives import supervised

VOID = {"meta", "br", "img", "link", "hr", "input"}


class Page(HTMLParser):
    """Checks that every element is closed, and collects what the tests ask for."""

    def __init__(self, text):
        super().__init__()
        self.text, self.open, self.titles, self.ids, self.links, self.alts = (
            text,
            [],
            [],
            [],
            [],
            [],
        )
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.look(tag, dict(attrs))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.look(tag, dict(attrs))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "h2":
            self.titles.append(data)

    def look(self, tag, attrs):
        self.ids += [attrs["id"]] if "id" in attrs else []
        self.links += [attrs[key] for key in ("src", "href", "xlink:href") if key in attrs]
        if tag == "img":
            self.alts.append(attrs["alt"])
        if tag == "svg":
            self.alts.append(attrs["aria-label"])
        assert not any(key.startswith("on") for key in attrs)
        assert tag not in ("script", "iframe", "object", "embed")


def read(run, path, **arguments):
    written = report.write(run, path, **arguments)
    text = written.read_text(encoding="utf-8")
    page = Page(text)
    assert len(text) < 3 * 2**20
    for link in [*page.links, *re.findall(r"url\(([^)]*)\)", text)]:
        assert link.startswith(("data:", "#"))
    for link in re.findall(r"url\(#([^)]*)\)", text):
        assert link in page.ids
    assert len(set(page.ids)) == len(page.ids)
    assert all(page.alts)
    return page


def trained(data, model=None, **arguments):
    torch.manual_seed(0)
    categories = getattr(data.preprocessing, "categories", ())
    if model is None:
        model = networks.for_data("MLP:hidden=32", data.input_shape, data.outputs, categories)
    return nr.fit(model, data, **{"epochs": 4, "lr": 0.01, "verbose": False, **arguments})


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    return trained(nr.load("digits"), directory=tmp_path_factory.mktemp("digits"))


@pytest.fixture(scope="module")
def diabetes():
    return trained(nr.load("diabetes"))


def mixed_table(n=300):
    """Numbers with gaps, words, dates, truth values, and names that are markup."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"size": rng.normal(170, 10, n), "noise": rng.normal(size=n)})
    frame["city"] = rng.choice(["Oslo", "Rome", "<script>alert(1)</script>"], n)
    frame["when"] = pd.date_range("2020-01-01", periods=n).strftime("%Y-%m-%d")
    frame["member"] = rng.choice(["yes", "no"], n)
    frame['"><img src=x onerror=alert(2)>'] = rng.normal(size=n)
    positive = frame["size"] + 20 * (frame["city"] == "Oslo") > 175
    frame.loc[rng.random(n) < 0.1, "size"] = np.nan
    frame["kind"] = np.where(positive, "<script>", "$x_1$ & co")
    return frame


@pytest.fixture(scope="module")
def table():
    return trained(nr.load(mixed_table(), target="kind"), epochs=20)


COMMON = ["Figures", "Training", "Diagnosis", "What was chosen", "Data", "Record"]


def test_classification_of_pictures(digits, tmp_path):
    page = read(digits, tmp_path / "report.html")
    shown = ["Confusions", "Most confidently wrong", "Where it looks", "Calibration", "Again"]
    assert set(page.titles) == {*COMMON, *shown}
    assert sum(alt.startswith("row") for alt in page.alts) >= 1
    assert "95 % interval" in page.text
    assert "answering “1” for every row" in page.text


def test_regression_is_shown_in_the_users_units(diabetes, tmp_path):
    page = read(diabetes, tmp_path / "report.html")
    assert set(page.titles) == {*COMMON, "Errors", "Largest errors", "What mattered"}
    rmse = diabetes.evaluate("test")["rmse"]
    assert rmse > 10  # the target runs from 25 to 346
    assert f"<strong>{rmse:.4g}</strong>" in page.text
    train, test = (diabetes.preprocessing.decode(diabetes.outputs(s)[1]) for s in ("train", "test"))
    constant = np.sqrt(np.mean((test - train.mean()) ** 2))
    assert f"<strong>{constant:.4g}</strong>" in page.text


def test_a_table_shows_the_users_own_cells_and_escapes_every_name(table, tmp_path):
    page = read(table, tmp_path / "report.html")
    assert set(page.titles) >= {*COMMON, "Confusions", "What mattered", "Calibration"}
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page.text
    assert "&quot;&gt;&lt;img src=x onerror=alert(2)&gt;" in page.text
    assert "<script" not in page.text
    assert re.search(r"<td>2020-\d\d-\d\d</td>", page.text)


def test_labels(tmp_path):
    torch.manual_seed(0)
    x = torch.randn(200, 4)
    rows = (x[:150], (x[:150, :3] > 0).float()), None, (x[150:], (x[150:, :3] > 0).float())
    data = nr.Data(*rows, task="multilabel", classes=["a", "b", "<c>"])
    page = read(trained(data), tmp_path / "report.html")
    assert {"Labels", "What mattered"} <= set(page.titles)
    assert "&lt;c&gt;" in page.text
    assert "the commonest set of labels" in page.text


def test_many_classes_list_the_worst_ones(tmp_path):
    torch.manual_seed(0)
    x, y = torch.randn(400, 5), torch.arange(400) % 25
    page = read(trained(nr.Data((x, y), test=(x, y))), tmp_path / "report.html")
    assert "Classes" in page.titles
    assert "Confusions" not in page.titles
    assert "The 20 of 25 classes" in page.text


def test_what_is_not_known_is_left_out(digits, tmp_path):
    loaded = nr.Run.load(digits.directory)
    page = read(loaded, tmp_path / "report.html")
    assert page.titles == ["Training", "What was chosen", "Again", "Record"]
    assert "MLP on digits" in page.text

    no_test = trained(nr.Data((torch.randn(50, 3), torch.arange(50) % 2)), epochs=1)
    page = read(no_test, tmp_path / "report.html")
    assert page.titles == ["Training", "Diagnosis", "What was chosen", "Data", "Record"]


def test_streams_and_unknown_tasks(tmp_path):
    torch.manual_seed(0)
    batches = [(torch.randn(20, 3), torch.arange(20) % 2) for _ in range(3)]
    data = nr.Data(batches, test=batches, task="binary", classes=["no", "yes"])
    page = read(trained(data, nn.Linear(3, 2)), tmp_path / "report.html")
    assert {"Figures", "Confusions", "Calibration"} <= set(page.titles)

    sequences = nr.Data((torch.randn(40, 5, 3), torch.zeros(40, 5, dtype=torch.long)))
    objective = supervised(lambda output, target: (output.mean(-1) - target).square().mean())
    page = read(trained(sequences, nn.Linear(3, 2), objective=objective), tmp_path / "report.html")
    assert page.titles == ["Training", "Diagnosis", "What was chosen", "Data", "Record"]


def test_several_splits_stand_side_by_side(digits, tmp_path):
    page = read(digits, tmp_path / "report.html", splits=("test", "val"))
    assert "test (360 rows)" in page.text
    assert "val (288 rows)" in page.text
    with pytest.raises(ValueError, match="got 'tests'"):
        report.write(digits, tmp_path / "report.html", splits=("tests",))


def test_without_test_rows_the_validation_rows_stand_in_and_it_says_so(tmp_path):
    x, y = torch.randn(60, 3), torch.arange(60) % 2
    page = read(trained(nr.Data((x, y), val=(x, y)), epochs=1), tmp_path / "report.html")
    assert "Validation accuracy" in page.text
    assert "the figure may flatter" in page.text


def test_a_network_no_better_than_a_constant_is_not_praised(tmp_path):
    torch.manual_seed(0)
    x, y = torch.randn(200, 3), torch.randint(2, (200,))
    page = read(trained(nr.Data((x[:100], y[:100]), test=(x[100:], y[100:]))), tmp_path / "r.html")
    assert "do not show that the network is better" in page.text


def test_a_smaller_error_is_the_better_one(tmp_path):
    x = torch.linspace(-1, 1, 100)[:, None]
    data = nr.Data((x, x), test=(x, x))
    good, bad = nn.Linear(1, 1), nn.Linear(1, 1)
    for model, slope in ((good, 1.1), (bad, -1.0)):
        model.load_state_dict({"weight": torch.tensor([[slope]]), "bias": torch.zeros(1)})
    for model, word in ((good, "better"), (bad, "worse")):
        page = read(trained(data, model, epochs=1, lr=1e-9), tmp_path / "report.html")
        assert f"The whole interval is {word} than the constant answer." in page.text


def test_the_report_lies_in_the_run_folder_and_leaves_the_run_as_it_was(digits):
    digits.model.train()
    before = torch.random.get_rng_state()
    path = report.write(digits)
    assert path == digits.directory / "report.html"
    assert digits.model.training
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(p.grad is None for p in digits.model.parameters())
    text = path.read_text(encoding="utf-8")
    assert text == report.render(digits)  # same run, same bytes
    digits.model.eval()


def test_the_python_lines_give_the_figures_of_the_page(digits):
    text = report.render(digits)
    code = re.search(r"(import neurarium.*?)</pre>", text, re.DOTALL)[1].replace("&#x27;", "'")
    lines = [line for line in code.splitlines() if "predict" not in line]
    scope = {}
    exec("\n".join([*lines[:-1], "found = " + lines[-1]]), scope)
    assert scope["found"] == digits.evaluate("test")


def test_what_was_chosen_says_why_and_by_which_flag(tmp_path):
    run = nr.fit("digits", verbose=False, epochs=1, max_steps=3)
    text = report.write(run, tmp_path / "r.html").read_text(encoding="utf-8")
    row = re.search(r"<tr>\s*<t[dh][^>]*>network</t[dh]>.*?</tr>", text, re.DOTALL)[0]
    assert "--network" in row
    assert "usual for images" in row
