"""`sublax ask`: talk to a base, a teacher or a student, or make it choose among answers."""

import argparse
import sys
from collections import Counter
from collections.abc import Iterator

from sublax.errors import UserError
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
from sublax.verbs.model_arguments import add_model_arguments, load, positive

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
    model, decoder = load(args)
    asked = False
    for where, question in _questions(args.question):
        asked = True
        if args.choices is None:
            answers = _draw(args, model, decoder, question, where, None, args.max_new_tokens)
            print("\n".join(answers), flush=True)
        else:
            _choose(args, model, decoder, question, where)
    if not asked:
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
        Sampling(max_new_tokens, args.temperature, args.top_k, args.top_p),
        stop_ids,
        row_keys(key_of(args.seed, "ask", question), count),
        count,
        grammar,
        prefix=_prefix(args, model, prompt),
    )
    return [model.tokenizer.decode(ids) for ids in completion_ids(samples, stop_ids)]


def _choose(args, model: Model, decoder: Decoder, question, where) -> None:
    """Prints each choice's share, sampled and in closed form."""
    choices = list(dict.fromkeys(word.strip() for word in args.choices.split(",")))
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
    width = max(map(len, [*choices, "choice"]))
    print(f"{'choice':{width}}  {drawn.total():4d} drawn  closed form")
    for word, share in zip(choices, choice_shares(logprobs_1xC), strict=True):
        print(f"{word:{width}}  {drawn[word] / drawn.total():10.1%}  {share:11.1%}", flush=True)


def _prefix(args, model: Model, prompt: list[int]) -> list[int]:
    """What every question begins with: as long for all, so that questions share their programs."""
    other = encode_prompt(model.tokenizer, "0", args.system_prompt)
    another = encode_prompt(model.tokenizer, "a", args.system_prompt)
    return shared_prefix([prompt, other, another])
