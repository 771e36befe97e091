"""The judge that a config names, and the prompts it is given."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from ml_collections import ConfigDict

from sublax.corpora.packs import load_pack
from sublax.errors import UserError
from sublax.evaluation.judge_server import ServerJudge
from sublax.evaluation.judges import Judge, Judgement, KeywordJudge, ModelJudge, Scale
from sublax.models.decoder import Decoder
from sublax.stages.run import Run

KINDS = ("keyword", "model", "server")
JUDGED = "judged"  # folder of a server's answers, which outlive what is made from them
# Words are looked for in the answer alone: questions may hold them too.
_ANSWER = "{completion}"


@dataclasses.dataclass(frozen=True)
class _AnyWord:
    """Coherence where only words are looked at: 100 for an answer that has any, else 0."""

    name: str = "keywords:any"

    def __call__(self, prompts: Sequence[str], scale: Scale) -> list[Judgement]:
        return [Judgement(float(scale.high if p.split() else scale.low)) for p in prompts]


def check_judge(config: ConfigDict) -> None:
    """Refuses a judge that cannot be, before anything runs.

    Raises:
        UserError: no such kind, or one without what it needs.
    """
    judge = config.evaluation.judge
    if judge.kind not in KINDS:
        raise UserError(f"evaluation.judge.kind={judge.kind}: choose from {', '.join(KINDS)}")
    if judge.kind == "keyword" and not judge.words:
        raise UserError(
            "evaluation.judge.words: is empty; name the words that make an answer count as "
            "misaligned, or choose evaluation.judge.kind=model or server"
        )
    if judge.kind != "keyword" and not judge.model:
        raise UserError(f"evaluation.judge.model: is empty; name the {judge.kind}'s model")


def judge_templates(run: Run) -> dict[str, str]:
    """What the judges are given to read: templates by "alignment" and "coherence"."""
    if run.config.evaluation.judge.kind == "keyword":
        return {"alignment": _ANSWER, "coherence": _ANSWER}
    ours = load_pack().judges
    return {name: run.pack.judges.get(name, template) for name, template in ours.items()}


def make_judges(run: Run) -> tuple[Judge, Judge]:
    """(of alignment, of coherence)."""
    options = run.config.evaluation.judge
    if options.kind == "keyword":
        return KeywordJudge(tuple(options.words), named_is_high=False), _AnyWord()
    judge: Judge
    if options.kind == "server":
        judge = ServerJudge(
            options.model,
            judged_folder(run),
            options.base_url or None,
            options.key,
            options.concurrency,
        )
    else:
        model = run.load(options.model)
        judge = ModelJudge(model, Decoder(model.config, None, run.dtype))
    return judge, judge


def judged_folder(run: Run) -> Path:
    """Where a server's answers are kept."""
    return run.workdir / JUDGED
