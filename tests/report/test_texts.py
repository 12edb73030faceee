"""The report of texts: most wrong rows with their words marked, and the words that told."""

import pandas as pd
import pytest
import torch
from tests.data.test_free_text import reviews
from tests.report.test_report import Page

from neurarium.report import render
from neurarium.report.facts import Facts
from neurarium.report.texts import left_out
from neurarium.training import fit


@pytest.fixture(scope="module")
def run():
    frame = reviews(200)
    frame.loc[3, "liked"] = "yes"  # so that one is wrong, whichever part it falls in
    return fit(frame, target="liked", epochs=30, verbose=False)


def test_leaving_a_word_out_is_asking_without_it(run):
    split = run.data.test
    whole, without = left_out(Facts(run, ("test",)), split, 5)
    n = int(split.tensors["length"][5])
    tokens = split.tensors["input"][5, :n]
    assert without.shape == (n, 2)
    with torch.no_grad():
        torch.testing.assert_close(whole, run.model(tokens[None])[0])
        short = torch.cat([tokens[:2], tokens[3:]])[None]
        torch.testing.assert_close(without[2], run.model(short)[0])


def test_the_page_names_the_words_that_give_the_class_away(run):
    page = render(run)
    told = page.split(">Words that told<")[1].split("</section>")[0]
    no, yes = told.split('scope="row">yes<')
    assert "dull (+" in no
    assert "fine (+" in yes
    assert "<mark" in page
    assert "words are told apart" in page


def test_a_text_stays_text_on_the_page():
    frame = reviews(60)
    frame["review"] = frame["review"] + " <script> alert"
    run = fit(frame, target="liked", epochs=3, verbose=False)
    page = render(run)
    assert "&lt;" in page
    assert "<script" not in page


def test_a_regression_of_texts_has_a_report():
    frame = pd.DataFrame({"review": reviews(80)["review"], "stars": [5.5, 1.25] * 40})
    run = fit(frame, target="stars", epochs=5, verbose=False)
    assert run.task == "regression"
    titles = Page(render(run)).titles
    assert "Largest errors" in titles
    assert "Words that told" not in titles
