"""Which bytes go when: by the readers that have ended, and by who else has the same bytes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from coopery.steps import Gathered, Identity, Need, Step, StepSource
from coopery.transients import Transients


@dataclass(frozen=True, kw_only=True)
class Nothing:
    kind: ClassVar[str] = "nothing"
    version: ClassVar[int] = 1
    in_place: ClassVar[bool] = False


def step(name: str, *reads: str, transient: tuple[str, ...] = ("o",)) -> Step:
    needs = tuple(
        Need(role=read, source=StepSource(step=read, output="o"), name=read) for read in reads
    )
    return Step(
        name=name, work=Nothing(), needs=needs, outputs=("o",), transient=frozenset(transient)
    )


def plan(*steps: Step) -> Transients:
    return Transients({each.name: each for each in steps})


def bytes_of(digest: str) -> dict[str, Identity]:
    return {"o": Identity(digest=digest, kind="file")}


A, B = bytes_of("a"), bytes_of("b")


def test_an_output_goes_with_its_last_reader() -> None:
    passing = plan(step("a"), step("x", "a"), step("y", "a"))
    assert passing.made("a", A) == []
    assert passing.ended("x") == []
    assert passing.ended("y") == [A["o"]]
    assert passing.ended("y") == []


def test_outputs_without_a_reader_and_lasting_ones_stay() -> None:
    passing = plan(step("a"), step("b", transient=()), step("x", "b"))
    assert passing.made("a", A) == [] and passing.made("b", B) == []
    assert passing.ended("a") == [] and passing.ended("x") == []


def test_a_reader_of_all_instances_counts_once_for_each() -> None:
    parts = (("f=0", StepSource(step="a", output="o")), ("f=1", StepSource(step="b", output="o")))
    score = Step(name="s", work=Nothing(), needs=(Need(role="m", source=Gathered(parts=parts)),))
    passing = plan(step("a"), step("b"), score)
    passing.made("a", A)
    passing.made("b", B)
    assert passing.ended("s") == [A["o"], B["o"]]


def test_bytes_that_another_output_is_made_of_stay_while_that_wants_them() -> None:
    lasting = plan(step("a"), step("b", transient=()), step("x", "a"))
    lasting.made("a", A)
    lasting.made("b", A)
    assert lasting.ended("x") == []
    both = plan(step("a"), step("b"), step("x", "a"), step("y", "b"))
    both.made("a", A)
    both.made("b", A)
    assert both.ended("x") == []
    assert both.ended("y") == [A["o"]]


def test_an_output_made_again_for_another_output_goes_at_once() -> None:
    passing = plan(step("a"), step("x", "a"))
    passing.made("a", A)
    passing.ended("x")
    assert passing.made("a", A) == [A["o"]]


def test_an_output_that_came_out_different_is_counted_anew() -> None:
    passing = plan(step("a"), step("b"), step("x", "a"), step("y", "b"))
    passing.made("a", A)
    passing.made("b", A)
    passing.made("a", B)
    assert passing.ended("y") == [A["o"]]
    assert passing.ended("x") == [B["o"]]
