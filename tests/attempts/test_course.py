"""The way of a call through its attempts, and which failure its client is told of."""

from hypothesis import given
from hypothesis import strategies as st

from interpose.attempts.course import Course
from interpose.attempts.lanes import Lane
from interpose.attempts.usefulness import Failure, place
from interpose.attempts.verdicts import Verdict
from interpose.rules.secrets import CredentialSource

A, B, C = (Lane("p", CredentialSource("env", (name,))) for name in "ABC")
LANES = st.lists(st.sampled_from([A, B, C, None]), min_size=1, max_size=6)
ENDS = st.lists(
    st.tuples(st.sampled_from([Verdict.AGAIN, Verdict.ELSEWHERE]), st.none() | st.floats(0, 20)), max_size=40
)


@given(lanes=LANES, sends=st.integers(1, 20), ends=ENDS)
def test_a_course_ends_and_tries_everything_first(
    lanes: list[Lane | None], sends: int, ends: list[tuple[Verdict, float | None]]
) -> None:
    """Never more sends than allowed; nothing twice before everything once; nothing before its pause is over; and no
    lane again that was found to be of no use.
    """
    now, tried = 0.0, list[int]()
    ready: dict[int, float] = {}
    useless: set[Lane] = set()
    course = Course(lanes, sends)
    for verdict, pause in ends:
        step = course.next(now)
        if step is None:
            break
        lane = lanes[step.index]
        assert lane not in useless
        assert step.again == (step.index in tried)
        if step.again:
            usable = [index for index, each in enumerate(lanes) if each not in useless]
            assert all(index in tried for index in usable)
        now += step.pause
        # Sums of floats: a pause that ends a rounding too early is over.
        assert now >= ready.get(step.index, 0.0) - 1e-9
        course.sent()
        tried.append(step.index)
        course.failed(step.index, verdict, pause, now)
        if verdict is Verdict.ELSEWHERE and lane is not None:
            useless.add(lane)
        if pause is not None:
            ready[step.index] = now + pause
    assert len(tried) <= sends
    assert [tried.index(index) for index in sorted(set(tried))] == list(range(len(set(tried))))


def test_a_second_round_begins_where_one_may_soonest() -> None:
    """After its pause; what asks for too much patience is out."""
    course = Course([A, B, C], 9)
    for index, pause in ((0, 5.0), (1, 2.0), (2, None)):
        step = course.next(0.0)
        assert step is not None
        assert (step.index, step.pause, step.again) == (index, 0.0, False)
        course.sent()
        course.failed(index, Verdict.AGAIN, pause, 0.0)
    again = course.next(0.5)
    assert again is not None
    assert (again.index, again.pause, again.again) == (1, 1.5, True)


def test_a_final_answer_ends_the_course() -> None:
    """Whatever else there would be."""
    course = Course([A, B], 9)
    course.sent()
    course.failed(0, Verdict.FINAL, 0.0, 0.0)
    assert course.next(0.0) is None


def test_beside_a_silent_one_comes_what_was_not_tried_then_what_may_be_then_itself() -> None:
    """A way whose pause is not over is left alone, and nothing is beside the last send."""
    course = Course([A, B, C, None], 5)
    assert [step.index for step in course.beside(0, 0.0)] == [1, 2, 3, 0]
    course.sent()
    for index, pause in ((1, 2.0), (2, None)):
        course.sent()
        course.failed(index, Verdict.AGAIN, pause, 0.0)
    assert [(step.index, step.again) for step in course.beside(0, 1.0)] == [(3, False), (0, True)]
    assert [(step.index, step.again) for step in course.beside(0, 2.0)] == [(3, False), (1, True), (0, True)]
    course.sent()
    course.sent()
    assert course.beside(0, 9.0) == []


# From the most useful to the least.
ORDER = [
    Failure(429, wish=60),
    Failure(429, wish=5),
    Failure(429),
    Failure(503),
    Failure(503, told=False),
    Failure(429, wish=86400, spent=True),
    Failure(502),
    Failure(502, told=False),
    Failure(504, told=False),
    Failure(500),
    Failure(400),
]


@given(st.permutations(ORDER))
def test_the_client_is_told_the_most_useful_failure(failures: list[Failure]) -> None:
    """A limit that passes before an overload, that before a quota that is used up, that before what is broken."""
    assert sorted(failures, key=place) == ORDER
