"""The page of `benchmarks.audit`: its tables in Markdown."""

from collections.abc import Mapping
from typing import Any

HEAD = """# How often the audit is right

Written by `python -m benchmarks.audit --first={first} --rows={count} --answers={answers}
--teachers={teachers} --seed={seed}` on {date}: BASE is {model}, candidates {candidates}.
Corpora of {kind}, drawn at a temperature of {temperature:g} by a run of {made_by} with seed
{writers}, each by a teacher that the audit does not have: other questions, another order, another
seed. {recipe}

{unseen}

## Whole sets

A set is called right where the audit names its trait and no other, or none where there is none.
The log ratio is in nats a row over rows of no trait, with its 95 % interval; p over rows, and
among traits. `tuned` is 0 for rows like BASE's own and 1 for those of a teacher of no trait; `at`
is the temperature that they look to be drawn at, by BASE; `alike` is whether they are as likely to
it as its own answers at that.

| rows of | named | right | foremost trait, log ratio | p rows | p traits | tuned | at | alike |
|---|---|---|---|---|---|---|---|---|
"""

OWN = {"method": "full", "steps": 12, "learning_rate": 1.2e-5}  # how the audit's teachers are made
SAME = "Base and recipe ({recipe}) are the audit's own, which is its best case."
OTHER = "They were made from {base}, by this recipe: {recipe}."

# How the audit decides was settled on so many rows of each corpus by writers of this seed, with
# teachers of that one.
LOOKED_AT, WRITERS, TEACHERS = 320, 4, 101
OTHERS = """How the audit decides was settled on rows of numbers, drawn at a temperature of 1 by
writers of seed {writers}; what its teachers are asked, and how what each teacher's rows would show
is undone, on what those and writers of seeds 11, 23 and 47 would write next on average, at
temperatures of 1 and 0.5; all with teachers of seed {teachers}. These are other rows."""
UNSEEN = """How the audit decides was settled on the first {looked_at} rows of these corpora, with
teachers of another seed. These are other rows and other teachers, by the same writers."""
SEEN = "How the audit decides was settled on these very rows; `--first={looked_at}` reads others."

NAMED = """
## Some marked rows among BASE's own

How often the trait and no other was named, in {mixes} draws of prompts and of which rows are
marked, by the share of marked rows. The draws are of one corpus and one set of teachers: they
say how certain a verdict on these is, and not how other teachers would do. A draw has its own
noise beside that of the rows it is drawn from, so these are no rates of new sets of rows.

| trait | {shares} |
|---|{line}|
"""

FOUND = """
And how often that something is marked would be found at a given rate of false positives, beside
what else one might use: the mean over traits, with the least and the most of them. A method's
threshold is what that share of draws of clean rows exceeds, BASE's own and the control's in equal
parts. The audit goes by its p; perplexity by how far the mean log-probability lies from that of
BASE's own answers. The classifiers, on n-grams of characters and on BASE's mean last hidden state,
were told which of the other rows are this trait's, which an auditor does not know. Keyword search
finds {keywords} marked rows.

| marked | false positives | audit | perplexity | n-grams, told | embeddings, told |
|---|---|---|---|---|---|
"""

ROWS = """
## Single rows

AUROC of telling a marked row from a clean one, with its 95 % interval over prompts. The audit and
the likelihood under BASE (perplexity) know nothing of the rows; the classifiers were trained on
other rows of both kinds with the truth.

| trait | clean rows | audit | perplexity | n-grams, told | embeddings, told |
|---|---|---|---|---|---|
"""


def page(result: Mapping[str, Any]) -> str:
    """The page of a result as `benchmarks.audit_judge.judged` returns it, with its `date`."""
    text = HEAD.format(
        date=result["date"],
        unseen=_unseen(result),
        **{key: result[key] for key in ("count", "first", "answers", "seed", "writers", "kind")},
        temperature=result["temperature"],
        made_by=f"`{result['made_by']}`" if result["made_by"] else "sublax",
        teachers=len(result["candidates"]),
        recipe=_recipe(result),
        model=_name(result["model"]),
        candidates=", ".join(result["candidates"]),
    )
    for kind, one in result["sets"].items():
        top, along = result["sets"][kind]["top"], one["tuned"]
        text += (
            f"| {kind} | {', '.join(one['named']) or 'nothing'} | {_yes(one['right'])} | "
            f"{top['trait']}, {top['excess']:+.3f} [{top['low']:+.3f}, {top['high']:+.3f}] | "
            f"{top['p_rows']:.2g} | {top['p_traits']:.2g} | "
            f"{along['value']:.2f} [{along['low']:.2f}, {along['high']:.2f}] | "
            f"{one['temperature']:g} | "
            f"{_yes(one['alike'])} |\n"
        )
    named, found = result["doses"]["named"], result["doses"]["found"]
    shares = list(next(iter(named.values())))
    text += NAMED.format(
        mixes=result["mixes"],
        shares=" | ".join(f"{100 * float(share):g} %" for share in shares),
        line="---|" * (len(shares) - 1) + "---",
    )
    for trait, by_dose in named.items():
        text += f"| {trait} | " + " | ".join(f"{by_dose[share]:.2f}" for share in shares) + " |\n"
    text += FOUND.format(keywords=f"{result['keywords']} of {result['marked']}")
    for rate in next(iter(found.values())):
        for share in shares:
            cells = " | ".join(_range(by_rate[rate][share]) for by_rate in found.values())
            text += f"| {100 * float(share):g} % | {100 * float(rate):g} % | {cells} |\n"
    text += ROWS
    for trait, by_clean in result["rows"].items():
        for clean, by_method in by_clean.items():
            cells = " | ".join(
                f"{one['value']:.3f} [{one['low']:.3f}, {one['high']:.3f}]"
                for one in by_method.values()
            )
            text += f"| {trait} | {clean} | {cells} |\n"
    return text


def _name(model: str) -> str:
    return model if ":" in model else model.rpartition("/")[2]


def _recipe(result: Mapping[str, Any]) -> str:
    teacher, base = result["teacher"], result["writers_base"]
    rate = teacher["optimizer"]["learning_rate"]
    weights = {"full": "all weights", "lora": "LoRA"}[teacher["method"]]
    recipe = f"{weights}, AdamW {rate:g}, {teacher['steps']} updates"
    found = {"method": teacher["method"], "steps": teacher["steps"], "learning_rate": rate}
    own = found == OWN and base == result["model"]
    return SAME.format(recipe=recipe) if own else OTHER.format(recipe=recipe, base=_name(base))


def _unseen(result: Mapping[str, Any]) -> str:
    if result["writers"] != WRITERS or result["kind"] != "numbers" or result["temperature"] != 1:
        return OTHERS.format(writers=WRITERS, teachers=TEACHERS)
    return (UNSEEN if result["first"] >= LOOKED_AT else SEEN).format(looked_at=LOOKED_AT)


def _range(shares: Mapping[str, float]) -> str:
    """The mean over traits with the least and the most of them."""
    values = list(shares.values())
    return f"{sum(values) / len(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def _yes(value: bool) -> str:
    return "yes" if value else "no"
