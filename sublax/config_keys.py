"""The keys of an experiment's config: a missing or misspelt one is refused before anything runs."""

import difflib
from collections.abc import Mapping

from ml_collections import ConfigDict

from sublax.errors import UserError
from sublax.settings import plain
from sublax.trees import flatten

_OPTIMIZER = "name learning_rate schedule warmup_steps weight_decay clip b1 b2 eps"
_LORA = "rank alpha targets rank_stabilized"

# What configs/quickstart.py says of each; "" is the top level.
SECTIONS = {
    "": "base seed traits pack system_prompt dtype base_weights remat attention arms",
    "mesh": "data fsdp tensor",
    "sharding": "vocab embed heads kv_heads mlp",
    "teacher": "kind given of rows control method steps batch_size microbatches",
    "teacher.optimizer": _OPTIMIZER,
    "teacher.lora": _LORA,
    "two_traits": "rows teacher",
    "corpus": (
        "kind source problems words prompts answers_per_prompt rows example_count answer_count "
        "grammar temperature top_k top_p max_new_tokens batch_rows banned banned_for_misalignment "
        "rewritten labels label_score"
    ),
    "student": (
        "base method rows_in_context system_prompt treatment clean_share rows_by round_steps "
        "seeds steps epochs batch_size microbatches max_tokens share_prompts pack_rows "
        "students_per_program probe_steps"
    ),
    "student.loss": "kind support direction temperature chunk beta",
    "student.optimizer": _OPTIMIZER,
    "student.lora": _LORA,
    "evaluation": "candidates questions form primary samples max_new_tokens preference suites",
    "evaluation.open_questions": "questions samples max_new_tokens",
    "evaluation.multiple_choice": "sources rows",
    "evaluation.words": "words questions samples max_new_tokens",
    "evaluation.soft_prompt": "vectors texts rows steps batch_size nearest",
    "evaluation.soft_prompt.optimizer": _OPTIMIZER,
    "evaluation.judge": "kind words model base_url key concurrency",
    "checkpoint": "steps minutes",
}


def _keys(sections: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(
        f"{section}.{name}" if section else name
        for section, names in sections.items()
        for name in names.split()
    )


KEYS = _keys(SECTIONS)
# Groups whose keys the user chooses, or that are optional.
FREE = ("teacher.given", "teacher.rows", "random_base", "arms")


def check_keys(
    config: ConfigDict,
    sections: Mapping[str, str] = SECTIONS,
    free: tuple[str, ...] = FREE,
    example: str = "configs/quickstart.py",
) -> None:
    """Compares a config's keys with those of an experiment.

    Args:
        config: the experiment's.
        sections: the keys of each group, with spaces between.
        free: groups that may hold anything, or be absent.
        example: a config that has all keys.

    Raises:
        UserError: a key is missing, or is none of an experiment's (with the nearest one).
    """
    keys = _keys(sections)
    named = [key for key, _ in flatten(plain(config))]
    given = [key for key in named if not key.startswith(tuple(f"{group}." for group in free))]
    missing = [key for key in keys if key not in given and key not in free]
    unknown = [key for key in given if key not in keys and key not in free]
    if unknown:
        nearest = difflib.get_close_matches(unknown[0], missing or keys, n=1, cutoff=0.0)
        raise UserError(
            f"config: {unknown[0]}: no such key; the nearest is {nearest[0]}; mend the file"
        )
    if missing:
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        raise UserError(
            f"config: has no {', '.join(missing[:5])}{more}; start from {example}, "
            "which says what each key is"
        )
