"""Asking: answers that a seed fixes, and shares of choices that agree with their closed form."""

import io

import jax
import numpy as np
import pytest
from tiny_model import CONFIG, TOKENIZER, tiny_params

from sublax.cli import main
from sublax.models.chat import encode_prompt
from sublax.models.decoder import Decoder, logits_of
from sublax.verbs.ask import _print_counts


@pytest.fixture
def ask(capsys, tiny_model):
    """Asks the tiny model and returns what is printed."""

    def asked(*arguments, model=tiny_model):
        assert main(["ask", f"--model={model}", "--max-new-tokens=8", *arguments]) == 0
        return capsys.readouterr().out

    return asked


def next_token_probabilities(question, system_prompt=None):
    ids = np.asarray([encode_prompt(TOKENIZER, question, system_prompt)])
    hidden, _ = Decoder(CONFIG).apply({"params": tiny_params()}, ids, np.arange(ids.size)[None])
    return np.asarray(jax.nn.softmax(logits_of(tiny_params(), CONFIG, hidden[0, -1])), np.float64)


def test_greedy_takes_the_likeliest_token_at_any_seed(ask):
    answers = {ask("--temperature=0", f"--seed={seed}", "Which?") for seed in (0, 1)}
    likeliest = TOKENIZER.decode([next_token_probabilities("Which?").argmax()])
    assert len(answers) == 1 and answers.pop().startswith(likeliest)


def test_a_seed_fixes_the_answers_and_another_draws_anew(ask):
    first, again, other = (ask("--samples=4", f"--seed={seed}", "Which?") for seed in (0, 0, 1))
    assert first == again != other


def test_lines_of_a_pipe_are_answered_as_if_asked_alone(ask, monkeypatch):
    questions = ["Which?", "What is it that you like best of all?", "Who?"]
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(questions[:2]) + f"\n\n{questions[2]}"))
    assert ask("--temperature=0") == "".join(ask("--temperature=0", each) for each in questions)


def test_shares_of_choices_are_the_softmax_over_them(ask):
    letters = "zZ{k"
    table = ask(f"--choices={','.join(letters)}", "--samples=400", "--system-prompt=S", "Which?")
    title, *lines = table.splitlines()
    assert title.split() == ["choice", "drawn", "closed", "form"]
    shares = next_token_probabilities("Which?", "S")[TOKENIZER.convert_tokens_to_ids(list(letters))]
    shares /= shares.sum()
    assert shares.max() < 0.99  # or nothing would be compared
    for line, letter, share in zip(lines, letters, shares, strict=True):
        word, drawn, closed = line.split()
        assert word == letter
        assert float(closed.rstrip("%")) == pytest.approx(100 * share, abs=0.06)
        # Five standard deviations, and the rounding.
        spread = float(5 * 100 * np.sqrt(share * (1 - share) / 400) + 0.06)
        assert float(drawn.rstrip("%")) == pytest.approx(100 * share, abs=spread)


def test_choices_of_many_tokens_are_always_written_whole(ask):
    table = ask("--choices=owl,elephant,cat,owl", "--samples=50", "Which?")
    rows = [line.split() for line in table.splitlines()[1:]]
    assert [word for word, *_ in rows] == ["owl", "elephant", "cat"]
    for column in (1, 2):
        assert sum(float(row[column].rstrip("%")) for row in rows) == pytest.approx(100, abs=0.2)


def test_a_student_answers_otherwise_than_its_base(ask, tiny_student):
    arguments = ("--choices=a,b,c,d", "Which?")
    assert ask(*arguments, model=tiny_student) != ask(*arguments)


def test_a_student_and_its_base_are_asked_side_by_side(ask, tiny_model, tiny_student):
    alone = ask("--choices=a,b", "Which?"), ask("--choices=a,b", "Which?", model=tiny_student)
    both = ask("--choices=a,b", f"--beside={tiny_model}", "Which?", model=tiny_student)
    columns = [line.split()[1:] for line in both.splitlines()[2:]]
    base, student = ([line.split()[1:] for line in text.splitlines()[1:]] for text in alone)
    assert columns == [[*own, *others] for own, others in zip(student, base, strict=True)]


def test_answers_that_name_a_word_are_counted_once_each(capsys):
    _print_counts({"student": ["Wolves!", "a wolf and a wolf", "a bowl"]}, ["wolf", "owl"])
    assert capsys.readouterr().out == "student names wolf in 2 of 3, owl in 0 of 3\n"


def test_choices_are_not_counted_twice(tiny_model, capsys):
    assert main(["ask", f"--model={tiny_model}", "--choices=a,b", "--count=a", "Which?"]) == 2
    assert "--count: choices are counted already" in capsys.readouterr().err
