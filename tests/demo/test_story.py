"""The story tells what happens, and says so where something else does."""

from __future__ import annotations

import io
from dataclasses import dataclass

import pytest

from strangler.demo.part import PartFailed
from strangler.demo.screen import Screen
from strangler.demo.stage import POLICY
from strangler.demo.story import Story, StoryBroken

from .conftest import RunningInsurer


@dataclass
class Elsewhere:
    """A stage where no Strangler stands in front: ``url`` leads straight to the legacy system, or nowhere."""

    legacy_url: str
    url: str
    failure: PartFailed | None = None
    speed: float = 20.0

    def check(self) -> None:
        if self.failure is not None:
            raise self.failure


def elsewhere(insurer: RunningInsurer, url: str | None = None, failure: PartFailed | None = None) -> Elsewhere:
    legacy = f"http://127.0.0.1:{insurer.port}"
    return Elsewhere(legacy, url or legacy, failure)


@pytest.mark.parametrize("insurer", [20], indirect=True)
def test_without_strangler_the_story_says_that_there_is_no_202(insurer: RunningInsurer) -> None:
    stream = io.StringIO()

    with pytest.raises(StoryBroken, match="the claim was answered with 201 Created"):
        Story(elsewhere(insurer), Screen(stream)).tell()  # type: ignore[arg-type]

    assert "DUPLICATE of C-0001" in stream.getvalue()


@pytest.mark.parametrize("insurer", [20], indirect=True)
def test_a_part_that_crashed_is_named(insurer: RunningInsurer) -> None:
    stage = elsewhere(insurer, "http://127.0.0.1:1", PartFailed("strangler ended with exit code 1"))

    with pytest.raises(PartFailed, match="strangler ended with exit code 1"):
        Story(stage, Screen(io.StringIO())).tell()  # type: ignore[arg-type]


@pytest.mark.parametrize("insurer", [1000], indirect=True)
def test_a_legacy_system_that_answers_in_time_spoils_the_story(insurer: RunningInsurer) -> None:
    stage = elsewhere(insurer)
    stage.speed = 1.0

    with pytest.raises(StoryBroken, match="the legacy system answered in time"):
        Story(stage, Screen(io.StringIO())).tell()  # type: ignore[arg-type]


def test_the_policy_of_the_story_is_the_example_in_the_checkout() -> None:
    assert POLICY.resolve().parts[-2:] == ("routes", "insurer.yaml")
