"""Which calls are one conversation, and what in a call's history is new, edited, or gone."""

from __future__ import annotations

import json
import random
import time

from hypothesis import given
from hypothesis import strategies as st
from tests.exports.made import ASKS, QUESTION, RESULT, SAYS, SYSTEM, agent, call, recorded, steps

from interpose.exports.comparing import Kept, Shown, around, lines_changed, pieces
from interpose.exports.conversations import Step
from interpose.transcripts import Text, Turn


def told(step: Step) -> list[str | int]:
    """How many turns stand as before, then the others by role and mark."""
    return [
        piece.count if isinstance(piece, Kept) else f"{piece.turn.role} {piece.mark}".strip()
        for piece in pieces(step.before, step.transcript.turns)
    ]


def test_an_agents_loop_is_one_conversation() -> None:
    """Each call adds what it has that the ones before had not."""
    made = steps(*agent())
    assert {step.conversation.number for step in made} == {1}
    assert [step.number for step in made] == [1, 2, 3]
    assert [told(step) for step in made] == [["system", "user"], [3, "tool"], [5, "user"]]
    assert made[0].conversation.ids == ["call-1", "call-2", "call-3"]


def test_the_same_question_twice_is_two_conversations() -> None:
    """And so are two that begin with the same words, or the same examples."""
    examples = [SYSTEM, {"role": "user", "content": "2+2"}, {"role": "assistant", "content": "4"}]
    made = steps(
        call(1, [SYSTEM, QUESTION], SAYS),
        call(2, [SYSTEM, QUESTION], SAYS),
        call(3, [*examples, {"role": "user", "content": "3+3"}], "6"),
        call(4, [*examples, {"role": "user", "content": "4+4"}], "8"),
    )
    assert [step.conversation.number for step in made] == [1, 2, 3, 4]


def test_conversations_of_several_at_once_are_kept_apart() -> None:
    """Their calls come as they come."""
    first, second = agent(), agent()
    for each in second:
        each.client = "another"
    made = steps(*(each for pair in zip(first, second, strict=True) for each in pair))
    assert [step.conversation.number for step in made] == [1, 2, 1, 2, 1, 2]


def test_a_system_prompt_that_changed_is_told() -> None:
    """As a diff, in its place."""
    history = [SYSTEM, QUESTION, {"role": "assistant", "content": SAYS}, {"role": "user", "content": "And tomorrow?"}]
    other = {"role": "system", "content": "You book trips. Be long-winded."}
    _, second = steps(call(1, history[:2], SAYS), call(2, [other, *history[1:]], "Rain."))
    assert told(second) == ["system edited", 2, "user"]
    edited = pieces(second.before, second.transcript.turns)[0]
    assert isinstance(edited, Shown)
    assert "-You book trips. Be brief." in edited.diff
    assert "+You book trips. Be long-winded." in edited.diff


def test_a_message_that_was_edited_or_left_out_is_told() -> None:
    """Further up in the history, before what the model had answered to it."""
    found = "I found three trains from Paris to Lyon on that day, at eight, ten and twelve. Which one?"
    long = "Book me a train from Paris to Lyon on Friday, second class, by the window."
    history = [
        SYSTEM,
        {"role": "user", "content": long},
        {"role": "assistant", "content": found},
        {"role": "user", "content": "The second."},
    ]  # fmt: skip
    edited = [history[0], {"role": "user", "content": long.replace("Friday", "Monday")}, *history[2:]]
    answer = str(history[2]["content"])
    first, second = steps(call(1, history[:2], answer), call(2, edited, "Booked."))
    assert first.conversation is second.conversation
    assert second.link == "text"
    assert told(second) == [1, "user edited", 1, "user"]
    _, third = steps(call(1, history[:2], answer), call(2, [history[0], *history[2:]], "Booked."))
    assert told(third) == [1, "user removed", 1, "user"]


def test_a_history_that_was_summed_up_goes_on() -> None:
    """By the summary that the model had written, which stands in the new one."""
    summary = "The user wants to go from Paris to Lyon on Friday. Three trains were found; the second is booked. " * 3
    first, second, third = steps(
        call(1, [SYSTEM, {"role": "user", "content": "Long story."}], summary),
        call(2, [SYSTEM, {"role": "user", "content": f"Summary so far: {summary.strip()} Go on."}], "Done."),
        call(3, [{"role": "system", "content": "Judge."}, {"role": "user", "content": summary}], "Good."),
    )
    assert first.conversation is second.conversation
    assert second.link == "summary"
    assert "user removed" in told(second)
    # Another one's prompt, into which the text was put, is another conversation.
    assert third.conversation is not first.conversation


def test_a_call_that_failed_and_its_retry_are_one() -> None:
    """And a later call with the same question is none of it."""
    made = steps(
        call(1, [SYSTEM, QUESTION], None, status=503),
        call(2, [SYSTEM, QUESTION], SAYS),
        call(3, [SYSTEM, QUESTION], SAYS),
    )
    assert [step.conversation.number for step in made] == [1, 1, 2]
    assert made[1].link == "again"
    assert told(made[1]) == [2]


def test_an_answer_that_is_asked_for_again_is_of_the_same_conversation() -> None:
    """Where the history before it is a conversation already."""
    history = [SYSTEM, QUESTION, ASKS, RESULT]
    made = steps(call(1, history[:2], ASKS), call(2, history, SAYS), call(3, history, "It is 15 degrees."))
    assert [step.conversation.number for step in made] == [1, 1, 1]
    assert made[2].link == "again"
    assert told(made[2]) == [4]


def test_a_response_that_goes_on_with_another_is_of_its_conversation() -> None:
    """The provider keeps the turns before it."""
    url = "https://api.openai.com/v1/responses"

    def response(number: int, **request: object) -> bytes:
        del request
        message = {"type": "message", "id": f"msg_{number}", "role": "assistant", "status": "completed"}
        content = [{"type": "output_text", "text": f"Answer {number}.", "annotations": []}]
        return json.dumps(
            {"id": f"resp_{number}", "object": "response", "status": "completed", "model": "gpt-5",
             "output": [{**message, "content": content}]}
        ).encode()  # fmt: skip

    first = json.dumps({"model": "gpt-5", "input": "One?"}).encode()
    second = json.dumps({"model": "gpt-5", "input": "Two?", "previous_response_id": "resp_1"}).encode()
    made = steps(
        recorded("a", url, first, 200, response(1)),
        recorded("b", url, second, 200, response(2)),
    )
    assert [step.conversation.number for step in made] == [1, 1]
    assert made[1].link == "reply id"
    assert [turn.role for turn in made[1].conversation.history] == ["user", "assistant", "user", "assistant"]


def test_what_else_changes_is_told() -> None:
    """Model, parameters, tools."""
    first, second = steps(
        call(1, [SYSTEM, QUESTION], SAYS, temperature=0),
        call(2, [SYSTEM, QUESTION, {"role": "assistant", "content": SAYS}, QUESTION], SAYS, temperature=1, seed=7),
    )
    assert first.conversation is second.conversation
    assert [(each.what, each.before, each.now) for each in around(second.earlier, second.transcript)] == [
        ("temperature", "0", "1"),
        ("seed", "", "7"),
    ]
    assert around(first.earlier, first.transcript) == []


def test_two_histories_with_nothing_in_common_are_compared_in_no_time() -> None:
    """Hundreds of long turns, and lines that repeat each other."""
    began = time.process_time()
    dice = random.Random(1)
    histories = [
        [Turn("user", (Text(" ".join(dice.choices("abcdefgh", k=1000))),)) for _ in range(300)] for _ in range(2)
    ]
    assert len(pieces(*histories)) >= 300
    lines_changed(dice.choices("ab", k=1500), dice.choices("ab", k=1500))
    assert time.process_time() - began < 30


@given(st.lists(st.text(max_size=20), max_size=30), st.lists(st.text(max_size=20), max_size=30))
def test_a_diff_tells_all_that_is_new_and_all_that_is_gone(before: list[str], now: list[str]) -> None:
    """Whatever the lines are."""
    lines = lines_changed(before, now)
    assert (before == now) == (lines == ())
    added = [line[1:] for line in lines if line.startswith("+")]
    gone = [line[1:] for line in lines if line.startswith("-")]
    assert all(line in added for line in now if line not in before)
    assert all(line in gone for line in before if line not in now)


TURNS = st.lists(
    st.builds(
        lambda role, text: Turn(role, (Text(text),)),
        st.sampled_from(["system", "user", "assistant"]),
        st.sampled_from(["one", "two", "three", "four five six seven", "four five six eight"]),
    ),
    max_size=12,
)


@given(TURNS, TURNS)
def test_no_turn_is_lost_between_two_histories(before: list[Turn], now: list[Turn]) -> None:
    """Each turn of the new one is kept or shown once, in order; each of the old one kept, edited or told as gone."""
    found = pieces(before, now)
    kept = sum(piece.count for piece in found if isinstance(piece, Kept))
    shown = [piece for piece in found if isinstance(piece, Shown)]
    assert kept + sum(piece.mark != "removed" for piece in shown) == len(now)
    assert kept + sum(piece.mark in ("removed", "edited") for piece in shown) == len(before)
    there = [piece.turn for piece in shown if piece.mark != "removed"]
    rest = iter(now)
    assert all(any(turn == each for each in rest) for turn in there)
