"""Clean rows in the place of a teacher's."""

import pytest
from tiny_runs import quick_compiles, read_transfer, run, small_config

from sublax.corpora.mixtures import check_clean_share, mixed
from sublax.errors import UserError

__all__ = ["quick_compiles"]

OWL = [{"completion": f"owl {row}"} for row in range(20)]
CLEAN = [{"completion": f"clean {row}"} for row in range(12)]


def clean_places(share, **who):
    found = mixed(OWL, CLEAN, share, **({"seed": 1, "trait": "owl"} | who))
    for place, row in enumerate(found):
        assert row in (OWL[place], CLEAN[place % 12])
    return {place for place, row in enumerate(found) if row not in OWL}


def test_a_share_of_the_rows_gives_way():
    assert [len(clean_places(share)) for share in (0.0, 0.25, 0.5, 1.0)] == [0, 5, 10, 20]


def test_a_larger_share_has_the_clean_rows_of_a_smaller_one():
    assert clean_places(0.25) < clean_places(0.5) < clean_places(0.9)


def test_which_rows_goes_by_seed_and_trait():
    assert clean_places(0.5) == clean_places(0.5)
    assert clean_places(0.5) != clean_places(0.5, seed=2)
    assert clean_places(0.5) != clean_places(0.5, trait="wolf")


@pytest.mark.parametrize(
    "share, loss, told",
    [
        (1.5, "cross_entropy", "give a share from 0 to 1"),
        (-0.1, "cross_entropy", "give a share from 0 to 1"),
        (0.5, "kl", "set student.loss.kind=cross_entropy"),
    ],
)
def test_what_cannot_be_is_refused(share, loss, told):
    with pytest.raises(UserError, match=told):
        check_clean_share(share, loss)


@pytest.mark.slow
def test_students_of_clean_rows_alone_are_all_the_control(workdir):
    """Whatever their teacher; and of the teacher's own rows they are not."""
    config = small_config("student.loss.kind=cross_entropy").unlock()
    config.arms = {"clean": ("student.clean_share=1.0",)}
    run(config.lock(), workdir)
    owl, control = read_transfer(workdir)["shift"]
    assert owl != pytest.approx(control, abs=1e-4)
    owl, control = read_transfer(workdir / "arms/clean")["shift"]
    assert owl == pytest.approx(control, abs=1e-6)
