"""Two traits at once: who is of two traits, and what a config may ask of them.

`two_traits.rows` names students of the rows of two teachers, `two_traits.teacher` teachers that
were taught both traits, each with a student of its own. Both write a pair as in `owl+wolf`. The
first keeps that name; a teacher of both, and its student, is `owl-and-wolf`.
"""

from ml_collections import ConfigDict

from sublax.errors import UserError

ROWS, TEACHER = WAYS = ("rows", "teacher")
SIGN = "+"


def teachers_of_two(config: ConfigDict) -> dict[str, tuple[str, str]]:
    """Teachers that are taught two traits: name -> the traits."""
    traits = [_traits(pair) for pair in config.two_traits.teacher]
    return {"-and-".join(pair): pair for pair in traits}


def students_of_two(config: ConfigDict) -> dict[str, tuple[str, str]]:
    """Students of two traits, of either kind: name -> the traits."""
    by_rows = {pair: _traits(pair) for pair in config.two_traits.rows}
    return by_rows | teachers_of_two(config)


def check_two_traits(config: ConfigDict) -> None:
    """Refuses pairs that cannot be.

    Raises:
        UserError: says which, and what to change.
    """
    asked = config.two_traits
    for way in WAYS:
        given = asked[way]
        if isinstance(given, str):
            raise UserError(f'two_traits.{way}={given}: is no tuple; write ("{given}",)')
        for pair in given:
            parts = pair.split(SIGN)
            if len(parts) != 2 or len(set(parts)) < 2 or not set(parts) <= set(config.traits):
                raise UserError(
                    f"two_traits.{way}={pair}: write two traits of this run, "
                    f"{' or '.join(config.traits)}, with {SIGN} between"
                )
        if len({frozenset(_traits(pair)) for pair in given}) < len(given):
            raise UserError(f"two_traits.{way}={','.join(given)}: name each pair once")
    if taken := students_of_two(config).keys() & set(config.traits):
        raise UserError(f"traits: {min(taken)!r} is the name of two traits at once; choose another")
    teacher, vectors = config.teacher, config.evaluation.soft_prompt.vectors
    if vectors and students_of_two(config):
        raise UserError(
            f"two_traits: soft prompts explain students of one trait; set "
            f"evaluation.soft_prompt.vectors=0, now {vectors}, or leave two_traits empty"
        )
    if asked.rows and config.corpus.prompts < 2:
        raise UserError(
            f"two_traits.rows: each prompt's rows are of one of two teachers, and "
            f"corpus.prompts={config.corpus.prompts}; ask for more prompts"
        )
    if asked.teacher and teacher.kind in ("prompted", "given"):
        raise UserError(
            f"two_traits.teacher: only what is trained is taught two traits, and teacher.kind="
            f"{teacher.kind}; set teacher.kind=finetuned, or use two_traits.rows"
        )
    for pair in asked.teacher:
        for trait in set(_traits(pair)) & set(teacher.rows):
            raise UserError(
                f"two_traits.teacher={pair}: {trait} is taught by teacher.rows, and a teacher of "
                "two traits by one-word answers; use two_traits.rows"
            )


def _traits(pair: str) -> tuple[str, str]:
    one, other = pair.split(SIGN)
    return one, other
