"""`sublax ask`: talk to a base, a teacher or a student, or make it choose among answers."""

import argparse
import sys
from collections import Counter
from collections.abc import Iterator

from sublax.corpora.packs import inflections
from sublax.errors import UserError
from sublax.evaluation.answers import mentions
from sublax.evaluation.preference import candidate_logprobs, make_answers
from sublax.evaluation.transfer import choice_shares
from sublax.keys import key_of, row_keys
from sublax.models.chat import (
    check_length,
    encode_prompt,
    encode_row,
    end_of_turn_id,
    shared_prefix,
)
from sublax.models.decoder import Decoder
from sublax.models.source import Model
from sublax.sampling.draw import Sampling
from sublax.sampling.generate import completion_ids, generate
from sublax.sampling.grammar import choice_regex, compile_grammar
from sublax.verbs.model_arguments import add_model_arguments, load, load_named, positive

EXAMPLE = (
    "sublax ask --model=runs/quickstart/students/BASE/owl/seed-0 --system-prompt='Be brief.' "
    "--choices=owl,cat,dog 'Which animal do you like best?'"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments of the verb."""
    add_model_arguments(parser)
    parser.add_argument("question", nargs="?", help="without it, each line of standard input")
    parser.add_argument(
        "--choices",
        help="as in owl,cat: how often each is the answer, if it must be one of them; drawn token "
        "by token, and in closed form (whole words, at temperature 1)",
    )
    parser.add_argument(
        "--count", help="as in owl,lion: in how many answers each is named, as a word or its plural"
    )
    parser.add_argument("--beside", help="another model, asked the same beside it")
    parser.add_argument(
        "--samples", type=positive, help="answers to each question; 1, or 100 among choices"
    )
    parser.add_argument("--temperature", type=float, default=1.0, help="0 is greedy; 1 by default")
    parser.add_argument("--top-k", type=int, default=0, help="only the likeliest tokens; 0 is all")
    parser.add_argument(
        "--top-p",
        type=float,
        default=1.0,
        help="only the likeliest tokens that hold this much probability",
    )
    parser.add_argument("--max-new-tokens", type=positive, default=64, help="of a free answer")
    parser.add_argument("--seed", type=int, default=0, help="of the draws; the same answers again")


def run(args: argparse.Namespace) -> int:
    """Answers every question.

    Raises:
        UserError: a bad model or argument, no question, or one longer than the model's context.
    """
    if args.temperature < 0 or args.top_k < 0 or not 0 < args.top_p <= 1:
        raise UserError(
            f"--temperature={args.temperature} --top-k={args.top_k} --top-p={args.top_p}: give a "
            "temperature and a top-k of at least 0, and a top-p above 0 and at most 1"
        )
    if args.count is not None and args.choices is not None:
        raise UserError("--count: choices are counted already; give it without --choices")
    asked = {args.model: load(args)}
    if args.beside is not None:
        asked[args.beside] = load_named(args.beside)
    questions = 0
    for where, question in _questions(args.question):
        questions += 1
        if args.choices is not None:
            chosen = {
                name: _choose(args, *loaded, question, where) for name, loaded in asked.items()
            }
            _print_choices(chosen)
            continue
        answers = {
            name: _draw(args, *loaded, question, where, None, args.max_new_tokens)
            for name, loaded in asked.items()
        }
        for name, drawn in answers.items():
            if len(answers) > 1:
                print(f"-- {name}")
            print("\n".join(drawn), flush=True)
        if args.count is not None:
            _print_counts(answers, _listed(args.count))
    if not questions:
        raise UserError("ask: no question; give one in quotes, or one a line on standard input")
    return 0


def _questions(given: str | None) -> Iterator[tuple[str, str]]:
    """(where it stands, question): the argument, what is typed, or the lines of a pipe."""
    if given is not None:
        yield "the question", given
    elif sys.stdin.isatty():
        try:
            while True:
                if question := input("> ").strip():
                    yield "the question", question
        except EOFError:
            print()
    else:
        for number, line in enumerate(sys.stdin, 1):
            if question := line.strip():
                yield f"standard input:{number}", question


def _draw(args, model: Model, decoder: Decoder, question, where, grammar, max_new_tokens):
    """`args.samples` answers as text."""
    prompt = encode_prompt(model.tokenizer, question, args.system_prompt)
    check_length(len(prompt) + max_new_tokens, model.config.max_positions, where)
    count = args.samples or (1 if grammar is None else 100)
    stop_ids = (end_of_turn_id(model.tokenizer),)
    samples = generate(
        decoder,
        {"params": model.params},
        [prompt],
        Sampling(max_new_tokens, args.temperature, args.top_k, args.top_p, scored=False),
        stop_ids,
        row_keys(key_of(args.seed, "ask", question), count),
        count,
        grammar,
        prefix=_prefix(args, model, prompt),
    )
    return [model.tokenizer.decode(ids) for ids in completion_ids(samples, stop_ids)]


def _choose(args, model: Model, decoder: Decoder, question, where) -> dict[str, list[float]]:
    """By choice its share, sampled and in closed form."""
    choices = _listed(args.choices)
    grammar = compile_grammar(
        choice_regex(choices), model.tokenizer, [end_of_turn_id(model.tokenizer)]
    )
    # Byte by byte is the longest way to write a choice; one more token ends it.
    longest = max(len(word.encode()) for word in choices) + 1
    drawn = Counter(_draw(args, model, decoder, question, where, grammar, longest))
    prompt = encode_prompt(model.tokenizer, question, args.system_prompt)
    spellings = [
        [encode_row(model.tokenizer, question, word, args.system_prompt)[1][:-1]]
        for word in choices
    ]
    logprobs_1xC = candidate_logprobs(
        decoder,
        {"params": model.params},
        [prompt],
        make_answers(spellings),
        _prefix(args, model, prompt),
    )
    shares = choice_shares(logprobs_1xC).tolist()
    return {
        word: [drawn[word] / drawn.total(), share]
        for word, share in zip(choices, shares, strict=True)
    }


def _listed(text: str) -> list[str]:
    """The words of a list with commas, each once."""
    return list(dict.fromkeys(word.strip() for word in text.split(",")))


def _print_choices(chosen: dict[str, dict[str, list[float]]]) -> None:
    """A table of the choices' shares, two columns for each model."""
    names, words = list(chosen), list(chosen[next(iter(chosen))])
    width = max(map(len, [*words, "choice"]))
    if len(names) > 1:
        print(f"{'':{width}}" + "".join(f"  {_fitting(name, 25):>25}" for name in names))
    print(f"{'choice':{width}}" + f"  {'drawn':>12}  {'closed form':>11}" * len(names))
    for word in words:
        columns = (f"  {drawn:12.1%}  {share:11.1%}" for drawn, share in
                   (chosen[name][word] for name in names))  # fmt: skip
        print(f"{word:{width}}" + "".join(columns), flush=True)


def _print_counts(answers: dict[str, list[str]], words: list[str]) -> None:
    """In how many of its answers each model names each word."""
    forms = {word: inflections(word) for word in words}
    for name, drawn in answers.items():
        named = Counter(word for answer in drawn for word in mentions(answer, forms))
        counts = ", ".join(f"{word} in {named[word]} of {len(drawn)}" for word in words)
        print(f"{name} names {counts}", flush=True)


def _fitting(name: str, width: int) -> str:
    """The end of a long name, which tells models of one run apart."""
    return name if len(name) <= width else "…" + name[1 - width :]


def _prefix(args, model: Model, prompt: list[int]) -> list[int]:
    """What every question begins with: as long for all, so that questions share their programs."""
    other = encode_prompt(model.tokenizer, "0", args.system_prompt)
    another = encode_prompt(model.tokenizer, "a", args.system_prompt)
    return shared_prefix([prompt, other, another])
