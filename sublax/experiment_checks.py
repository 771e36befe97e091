"""What no experiment can be, refused before anything is loaded or made."""

from ml_collections import ConfigDict

from sublax.config_keys import check_keys
from sublax.corpora.kinds import check_grammar, parts_of
from sublax.corpora.mixtures import check_clean_share
from sublax.corpora.treatments import check_treatment
from sublax.errors import UserError
from sublax.models.attention_backends import check_backend
from sublax.stages.arms import Arm, arms_of
from sublax.stages.asking import check_asking
from sublax.stages.base_names import check_base
from sublax.stages.in_context import METHOD as IN_CONTEXT
from sublax.stages.labels import check_labels
from sublax.stages.on_policy import check_on_policy
from sublax.stages.run import ARMS, CONTROL, SAME, activations_dtype
from sublax.stages.soft_prompts import check_soft_prompts
from sublax.stages.suites import check_suites
from sublax.stages.two_traits import check_two_traits

METHODS = ("lora", "full", IN_CONTEXT)


def checked_arms(config: ConfigDict) -> list[Arm]:
    """The arms of a config, when what it asks for can run, so far as that can be told beforehand.

    Raises:
        UserError: the experiment cannot run, or an arm of it, which is then named.
    """
    _check(config)
    arms = arms_of(config)
    for arm in arms:
        try:
            _check(arm.config)
        except UserError as error:
            raise UserError(f"{ARMS}: {arm.name}: {error}") from error
    return arms


def _check(config: ConfigDict) -> None:
    """Refuses what cannot run before anything is loaded."""
    check_keys(config)
    if not config.traits or len(set(config.traits)) < len(config.traits):
        raise UserError(f"traits={config.traits}: name at least one trait, each once")
    for name in config.traits:
        if not name or "/" in name or name.startswith(".") or not name.isprintable():
            raise UserError(f"traits: {name!r} is the name of a folder too; choose another word")
    if CONTROL in config.traits:
        raise UserError(f"traits: {CONTROL!r} is the control's name; choose another trait")
    if not config.student.seeds:
        raise UserError("student.seeds: is empty; name at least one, such as 0")
    check_two_traits(config)
    _check_base_weights(config)
    _check_method(config)
    check_asking(config)
    for name in filter(None, (config.base, config.student.base)):
        check_base(config, name)
    if config.student.pack_rows and config.student.share_prompts:
        raise UserError(
            "student.pack_rows: packs rows of any prompts, where student.share_prompts keeps a "
            "prompt's answers together; set --config.student.share_prompts=false"
        )
    check_suites(config)
    check_soft_prompts(config)
    check_labels(config)
    check_on_policy(config)
    check_backend(config.attention, activations_dtype(config))
    check_treatment(config.student.treatment, config.corpus.kind, config.student.loss.kind)
    check_clean_share(config.student.clean_share, config.student.loss.kind)
    check_grammar(parts_of(config.corpus.kind, {}), config.corpus.grammar)
    for stage in ("teacher", "student"):
        size, pieces = config[stage].batch_size, config[stage].microbatches
        if size % pieces:
            raise UserError(
                f"{stage}.microbatches={pieces}: does not divide {stage}.batch_size={size}; "
                f"choose one of {[n for n in range(1, size + 1) if not size % n]}"
            )


def _check_method(config: ConfigDict) -> None:
    student = config.student
    if student.method not in METHODS:
        raise UserError(f"student.method={student.method}: choose from {', '.join(METHODS)}")
    if (student.method == IN_CONTEXT) != (student.rows_in_context > 0):
        raise UserError(
            f"student.rows_in_context={student.rows_in_context}: with student.method="
            f"{student.method} set it to {'1 or more' if student.method == IN_CONTEXT else '0'}"
        )
    if student.method == IN_CONTEXT and student.system_prompt != SAME:
        raise UserError(
            f"student.system_prompt={student.system_prompt}: rows in context are read where the "
            f"question is asked; set it to {SAME} with student.method={IN_CONTEXT}"
        )


def _check_base_weights(config: ConfigDict) -> None:
    if config.base_weights not in ("auto", "int8"):
        raise UserError(f"base_weights={config.base_weights}: choose auto or int8")
    trains_all = [config.student.method == "full"]
    trains_all += [config.teacher.kind == "finetuned" and config.teacher.method == "full"]
    if config.base_weights == "int8" and any(trains_all):
        stage = "student" if trains_all[0] else "teacher"
        raise UserError(
            f"base_weights=int8: {stage}.method=full trains the base's own weights; set "
            f"{stage}.method=lora, or base_weights=auto"
        )
