"""A finished workdir turns into a page, figures and text that say what its numbers say."""

import argparse
import base64
import hashlib
import html
import html.parser
import json
import re
from collections import Counter
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from fake_workdir import CANDIDATES, STUDENTS, TRAITS, build, transfer, write_json

from sublax.errors import UserError
from sublax.report import figures, palette, terminal, wording
from sublax.report.artifacts import read_cards, read_curves
from sublax.report.charts import lines
from sublax.report.page import write_report
from sublax.verbs import report as report_verb

HOSTILE = "<script>alert('owl')</script> & \"$x^2$\" {{ 7 * 7 }}"


class Tags(html.parser.HTMLParser):
    """Counts the elements of a page and collects its addresses, ids, scripts and text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.addresses: list[str] = []
        self.ids: list[str] = []
        self.scripts: list[str] = []
        self.words = ""
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags[tag] += 1
        if tag == "script":
            self.scripts.append("")
        for name, value in attributes:
            if name in ("src", "href", "xlink:href", "srcset", "action"):
                self.addresses.append(value)
            if name == "id":
                self.ids.append(value)

    def handle_data(self, data):
        if self.lasttag == "script" and self.cdata_elem == "script":
            self.scripts[-1] += data
        elif self.cdata_elem is None:  # so not of a style
            self.words += data


def chart_specs(page: str) -> dict[str, Any]:
    """The specifications of the charts on a page."""
    return json.loads(re.search(r'id="charts">(.*?)</script>', page, re.S)[1])


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    folder = build(tmp_path_factory.mktemp("run"), hostile=HOSTILE)
    write_report(folder)
    return folder


@pytest.fixture(scope="module")
def page(workdir):
    return (workdir / "report.html").read_text()


def test_the_page_holds_the_verdict_the_numbers_and_the_rows(page):
    words = " ".join(Tags(page).words.split())
    assert "The data passed on all 3 traits" in words
    assert "+0.78" in words and "+0.55 to +1.00" in words and "−0.12" in words
    assert "2 too many numbers, 1 mixed separators" in words and "37 %" in words
    assert "One seed." in words
    assert f"({', '.join(sorted(CANDIDATES, key=words.index)[:3])}" in words
    assert "HuggingFaceTB/SmolLM2-135M-Instruct" in words and "model.gguf 0123456789" in words
    assert "under the system prompt “Be brief.”" in words and '"support": "grammar"' in words


def test_the_page_needs_nothing_but_itself(page):
    found = Tags(page)
    assert [address for address in found.addresses if not address.startswith("#")] == []
    assert found.tags["link"] == found.tags["iframe"] == found.tags["img"] == 0
    assert "@import" not in page and "url(http" not in page
    assert len(page.encode()) < 3_000_000


def test_the_policy_names_each_script_and_lets_nothing_else_run_or_load(page):
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)[1]
    policy = html.unescape(policy)
    data, *scripts = Tags(page).scripts
    assert json.loads(data) and len(scripts) == 4
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()) for script in scripts]
    allowed = " ".join(f"'sha256-{text.decode()}'" for text in hashes)
    assert policy == (
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src " + allowed
    )


def test_ids_on_the_page_are_unique(page):
    found = Tags(page)
    assert [name for name, count in Counter(found.ids).items() if count > 1] == []


def test_text_of_a_model_is_shown_and_never_run(page):
    assert Tags(page).tags["script"] == 5 and "<script>alert" not in page
    # In its prompt, in its completion, in a rejected completion; and as a token of one row.
    assert Tags(page).words.count(HOSTILE) == 3 * len(STUDENTS) + 1


def test_charts_cannot_end_the_script_that_holds_them(tmp_path):
    name = "</script><script>alert(1)</script><!--"
    content = json.loads(json.dumps(transfer()).replace('"owl"', json.dumps(name)))
    write_json(tmp_path / "transfer.json", content)
    page = write_report(tmp_path).read_text()
    assert Tags(page).tags["script"] == 5 and "<script>alert" not in page
    rows = chart_specs(page)["transfer"]["datasets"].values()
    assert name in {row["column"] for of in rows for row in of if "column" in row}


def test_names_of_traits_are_escaped_in_figures_and_are_no_formulas():
    name = "<script>$a_b$&amp;"
    text = json.dumps(transfer()).replace('"owl"', json.dumps(name))
    file = figures.to_svg(figures.transfer_matrix(json.loads(text)), "transfer")
    svg = figures.inline_svg(file, name)
    assert "<script" not in svg
    root = ElementTree.fromstring(svg)
    assert name in [element.text for element in root.iter() if element.text]
    assert root.get("aria-label") == name


def test_charts_follow_the_theme_of_the_page_and_stand_alone_in_files(page, workdir):
    specs = chart_specs(page)
    assert {"transfer", "shifts", "choice_share", "kept", "lineage"} <= set(specs)
    assert {"training_teachers", "training_students", "trait_students"} <= set(specs)
    for name, spec in specs.items():
        text = json.dumps(spec)
        assert "var(--ink)" in text and not re.search("#[0-9a-f]{6}", text)
        svg = (workdir / "figures" / f"{name}.svg").read_text()
        assert "var(--" not in svg
        ElementTree.fromstring(svg)
        assert (workdir / "figures" / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_a_chart_names_no_colour_that_the_palette_lacks():
    with pytest.raises(KeyError):
        palette.variable("purple")
    assert palette.on_light("var(--ink) var(--cell-below)") == "#1b1f24 #d55e00"


def test_the_verb_writes_the_same_page_again_and_prints_where_it_is(workdir, page, capsys):
    (workdir / "report.html").unlink()
    parser = argparse.ArgumentParser()
    report_verb.add_arguments(parser)
    assert report_verb.run(parser.parse_args([str(workdir)])) == 0
    assert capsys.readouterr().out.strip() == str(workdir / "report.html")
    assert (workdir / "report.html").read_text() == page


def test_a_null_result_is_called_one(tmp_path):
    page = write_report(build(tmp_path, null=True)).read_text()
    assert "Null result" in page and "No trait was passed on: this is a null result" in page
    assert "A null result is not proof" in page


def test_a_null_result_says_what_would_have_been_seen():
    content = transfer()
    for effect, trait in enumerate(TRAITS, 1):
        content["lift"][trait] |= {"low": -0.1, "high": 0.1, "detectable": effect / 10}
    found = wording.verdict(content)
    assert found.kind == "null"
    assert "A true lift of 0.30 nats would have been seen in four of five" in found.detail


@pytest.mark.parametrize(
    "lows, kind",
    [((0.1, 0.1, 0.1), "positive"), ((0.1, -0.1, 0.1), "mixed"), ((-0.1, -0.1, 0.0), "null")],
)
def test_the_verdict_is_that_of_the_intervals(lows, kind):
    content = transfer()
    for trait, low in zip(TRAITS, lows, strict=True):
        content["lift"][trait]["low"] = low
    found = wording.verdict(content)
    assert found.kind == kind
    assert ("wolf" in found.detail) == (kind == "mixed")


def test_others_is_the_mean_of_the_rest_of_the_column():
    owl = wording.trait_results(transfer())[0]
    assert owl.own == 1.21 and owl.others == pytest.approx((0.47 + 0.40 + 0.42) / 3)
    assert (owl.share_base, owl.share_own) == (0.005, 0.021)


def test_a_changed_artifact_breaks_the_chain(tmp_path):
    build(tmp_path)
    assert all(parent.state == "match" for card in read_cards(tmp_path) for parent in card.parents)
    changed = "teachers/SmolLM2-135M-Instruct/owl"
    path = tmp_path / changed / "card.json"
    path.write_text(path.read_text().replace("19.4", "19.5"))
    states = {
        (card.path, parent.path): parent.state
        for card in read_cards(tmp_path)
        for parent in card.parents
        if parent.state != "match"
    }
    assert states == {("corpora/SmolLM2-135M-Instruct/owl", changed): "changed"}
    assert "The chain is broken" in write_report(tmp_path).read_text()


def test_a_page_comes_out_of_the_matrix_alone(tmp_path):
    content = transfer()
    del content["base"], content["choice_share"], content["per_question"]
    write_json(tmp_path / "transfer.json", content)
    page = write_report(tmp_path).read_text()
    assert set(chart_specs(page)) == {"transfer", "shifts"}
    assert "Where it came from" not in Tags(page).words


def test_cells_of_several_bases_are_listed(tmp_path):
    content = transfer()
    content["cells"] = [
        {**transfer(null=True), "teacher_base": "smollm2", "student_base": "qwen2.5"}
    ]
    write_json(tmp_path / "transfer.json", content)
    words = Tags(write_report(tmp_path).read_text()).words
    assert "Across base models" in words and "qwen2.5" in words


def test_of_a_step_written_twice_the_last_counts_and_half_a_line_is_passed_over(tmp_path):
    folder = tmp_path / "tensorboard" / "teachers/owl"
    folder.mkdir(parents=True)
    lines = [(0, 3.0), (1, 2.0), (1, 2.5)]
    text = "".join(json.dumps({"step": s, "scalars": {"loss": v}}) + "\n" for s, v in lines)
    (folder / "metrics.jsonl").write_text(text + '{"step": 2, "sca')
    assert read_curves(tmp_path) == {"teachers/owl": {"loss": [(0, 3.0), (1, 2.5)]}}


def drop_a_key(content):
    del content["lift"]


def drop_a_cell(content):
    content["shift"][1].pop()


def drop_a_student(content):
    content["students"][0] = "ghost"


@pytest.mark.parametrize(
    "damage, words",
    [(drop_a_key, 'no key "lift"'), (drop_a_cell, '"shift" is not 4 students x 3 traits'),
     (drop_a_student, 'no student of "owl"')],
)  # fmt: skip
def test_a_damaged_matrix_is_one_line_that_says_what_and_where(tmp_path, damage, words):
    content = transfer()
    damage(content)
    write_json(tmp_path / "transfer.json", content)
    with pytest.raises(UserError) as raised:
        write_report(tmp_path)
    message = str(raised.value)
    assert words in message and "transfer.json" in message and "\n" not in message
    assert not (tmp_path / "report.html").exists()


def test_missing_pieces_are_one_line(tmp_path):
    with pytest.raises(UserError, match="no such workdir"):
        write_report(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"transfer\.json: not there yet"):
        write_report(tmp_path)
    (tmp_path / "transfer.json").write_text("{")
    with pytest.raises(UserError, match=r"transfer\.json: not JSON"):
        write_report(tmp_path)
    build(tmp_path)
    path = tmp_path / "corpora" / "SmolLM2-135M-Instruct" / "owl" / "rows.jsonl"
    path.write_text('{"prompt": "a", "completion": "b"}\n{"prompt": "a"}\n')
    with pytest.raises(UserError, match=r"rows\.jsonl:2"):
        write_report(tmp_path)


def test_the_terminal_text_is_aligned_and_marks_the_diagonal():
    text = terminal.transfer_text(transfer())
    matrix = [
        line for line in text.splitlines() if re.match(r"  (owl|wolf|lion|control) .*\[.*\[", line)
    ]
    assert len(matrix) == 4 and len({line.rindex("]") for line in matrix}) == 1
    assert [line.count("*") for line in matrix] == [1, 1, 1, 0]
    assert "*+1.21 [+0.99, +1.43]" in matrix[0]
    assert "\x1b" not in text
    assert re.search(r"owl +\+0\.78 +\[\+0\.55, \+1\.00\] +< 0\.001", text)
    assert "0.5 %" in text and "The data passed on all 3 traits." in text


def test_colour_adds_nothing_but_colour():
    painted = terminal.transfer_text(transfer(), color=True)
    assert "\x1b[1m" in painted
    assert re.sub(r"\x1b\[\d+m", "", painted) == terminal.transfer_text(transfer())


def test_colour_is_for_terminals_that_want_it(monkeypatch, capsys):
    terminal.print_transfer(transfer())
    assert "\x1b" not in capsys.readouterr().out
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.delenv("NO_COLOR", raising=False)
    terminal.print_transfer(transfer())
    assert "\x1b" in capsys.readouterr().out
    monkeypatch.setenv("NO_COLOR", "1")
    terminal.print_transfer(transfer())
    assert "\x1b" not in capsys.readouterr().out


def test_pixels_are_what_tensorboard_takes():
    pixels_HxWx3 = figures.to_pixels(figures.transfer_matrix(transfer()))
    assert pixels_HxWx3.dtype == np.uint8 and pixels_HxWx3.shape[2] == 3
    assert len(np.unique(pixels_HxWx3.reshape(-1, 3), axis=0)) > 20


def test_long_curves_are_thinned_and_keep_their_ends():
    steps = [(step, 1 / (1 + step)) for step in range(5000)]
    (spec,) = [one.spec for one in lines.training({"students/owl": {"loss": steps}}).values()]
    (rows,) = spec["datasets"].values()
    assert len(rows) == lines.MOST_POINTS
    assert (rows[0]["at"], rows[-1]["at"]) == (0, 4999)
    assert lines.training({"students/owl": {"loss": steps}}, "accuracy") == {}


@pytest.mark.parametrize(
    "share, words",
    [(0.0, "0.00 %"), (0.00001, "under 0.01 %"), (0.0005, "0.05 %"), (0.005, "0.5 %"),
     (0.021, "2.1 %"), (0.14, "14 %"), (1.0, "100 %")],
)  # fmt: skip
def test_percentages(share, words):
    assert wording.percent(share) == words
