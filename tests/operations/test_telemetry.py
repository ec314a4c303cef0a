"""What the rooms tell is counted, and read back from a scrape as Prometheus reads it."""

from __future__ import annotations

import pytest

from strangler.domain.delivery import Delivery, DeliveryAttempt, DeliveryState, Tried
from strangler.domain.exchange import AttemptOutcome
from strangler.domain.process import Effect, PublicState, State
from strangler.domain.steps import Accept, Claim, Doubt, Finish
from strangler.domain.transitions import Change, apply
from strangler.engine.instrument import Instrument, QueueReading, StandingReading
from strangler.operations import series
from strangler.operations.catalogue import FAMILIES
from strangler.operations.logs import Logs
from strangler.operations.telemetry import Telemetry
from strangler.ports import DeliveryTotal, InFlight
from tests.operations.samples import PROCESS_ID, STARTED_AT, a_process, an_attempt, scraped, value

R = "submit-claim"


@pytest.fixture
def telemetry() -> Telemetry:
    return Telemetry(Logs(lambda data: None), version="1.2.3", started_at=STARTED_AT)


def test_it_serves_as_the_instrument(telemetry: Telemetry) -> None:
    instrument: Instrument = telemetry
    missing = [name for name in vars(Instrument) if not name.startswith("_") and not hasattr(instrument, name)]
    assert missing == []


def test_requests_are_counted_by_what_became_of_them(telemetry: Telemetry) -> None:
    telemetry.accepted(a_process(), 0.003)
    telemetry.accepted(a_process(), 0.003)
    telemetry.replayed(a_process())
    telemetry.refused(R, "invalid-request")
    telemetry.refused("", "bad-request")
    telemetry.would_refuse(R, "unsupported-media-type", "text/plain")
    samples = scraped(telemetry)
    assert value(samples, "strangler_accepted_total", route=R) == 2
    assert value(samples, "strangler_replayed_total", route=R) == 1
    assert value(samples, "strangler_refused_total", route=R, code="invalid-request") == 1
    assert value(samples, "strangler_refused_total", route="(none)", code="bad-request") == 1
    assert value(samples, "strangler_would_refuse_total", route=R, code="unsupported-media-type") == 1


def test_acknowledgement_and_completion_are_two_histograms(telemetry: Telemetry) -> None:
    telemetry.accepted(a_process(), 0.003)
    ended = a_process(state=State.COMPLETED, finished_at=STARTED_AT + 42_000)
    telemetry.changed(Change(a_process(state=State.PROCESSING), ended, (), ()))
    samples = scraped(telemetry)
    assert value(samples, "strangler_acknowledgement_seconds_bucket", route=R, le="0.0025") == 0
    assert value(samples, "strangler_acknowledgement_seconds_bucket", route=R, le="0.005") == 1
    assert value(samples, "strangler_acknowledgement_seconds_sum", route=R) == pytest.approx(0.003)
    assert value(samples, "strangler_completion_seconds_bucket", route=R, le="30.0") == 0
    assert value(samples, "strangler_completion_seconds_bucket", route=R, le="60.0") == 1
    assert value(samples, "strangler_completion_seconds_bucket", route=R, le="86400.0") == 1
    assert value(samples, "strangler_completion_seconds_sum", route=R) == 42
    assert value(samples, "strangler_completion_seconds_count", route=R) == 1


def test_a_value_on_a_bound_belongs_to_the_bucket_below_it_and_one_beyond_all_to_infinity(telemetry: Telemetry) -> None:
    telemetry.accepted(a_process(), 0.005)
    telemetry.accepted(a_process(), 9.0)
    samples = scraped(telemetry)
    assert value(samples, "strangler_acknowledgement_seconds_bucket", route=R, le="0.0025") == 0
    assert value(samples, "strangler_acknowledgement_seconds_bucket", route=R, le="0.005") == 1
    assert value(samples, "strangler_acknowledgement_seconds_bucket", route=R, le="2.5") == 1
    assert value(samples, "strangler_acknowledgement_seconds_bucket", route=R, le="+Inf") == 2


def test_the_gauges_of_states_follow_a_process_from_acceptance_to_its_end(telemetry: Telemetry) -> None:
    def in_state(state: State) -> float | None:
        return value(scraped(telemetry), "strangler_processes", route=R, state=state)

    accepted = apply(None, Accept(a_process()), STARTED_AT)
    telemetry.changed(accepted)
    assert in_state(State.RECEIVED) == 1
    claimed = apply(accepted.process, Claim("owner"), STARTED_AT + 1)
    telemetry.changed(claimed)
    assert (in_state(State.RECEIVED), in_state(State.PROCESSING)) == (0, 1)
    doubted = apply(claimed.process, Doubt("cut", settling=False), STARTED_AT + 2)
    telemetry.changed(doubted)
    assert (in_state(State.PROCESSING), in_state(State.IN_DOUBT)) == (0, 1)
    assert value(scraped(telemetry), "strangler_unconfirmed_processes", route=R) == 1
    assert value(scraped(telemetry), "strangler_in_doubt_total", route=R) == 1
    ended = apply(doubted.process, Finish(State.COMPLETED, Effect.APPLIED), STARTED_AT + 3000)
    telemetry.changed(ended)
    samples = scraped(telemetry)
    assert all(value(samples, "strangler_processes", route=R, state=state) == 0 for state in series.IN_FLIGHT)
    assert value(samples, "strangler_unconfirmed_processes", route=R) == 0
    assert value(samples, "strangler_ended_total", route=R, state="completed") == 1
    assert value(samples, "strangler_completion_seconds_sum", route=R) == 3


def test_a_process_that_is_accepted_and_claimed_in_one_change_counts_once(telemetry: Telemetry) -> None:
    telemetry.changed(apply(None, Accept(a_process()), STARTED_AT).then(Claim("owner"), STARTED_AT))
    samples = scraped(telemetry)
    assert value(samples, "strangler_processes", route=R, state="processing") == 1
    assert value(samples, "strangler_processes", route=R, state="received") == 0


def test_doubt_that_turns_from_settling_to_review_is_one_doubt_and_needs_a_person_from_then_on(
    telemetry: Telemetry,
) -> None:
    settling = a_process(state=State.IN_DOUBT, settling=True)
    telemetry.changed(Change(a_process(state=State.PROCESSING), settling, (), ()))
    assert value(scraped(telemetry), "strangler_unconfirmed_processes", route=R) == 0
    telemetry.changed(Change(settling, settling._replace(settling=False), (), ()))
    samples = scraped(telemetry)
    assert value(samples, "strangler_unconfirmed_processes", route=R) == 1
    assert value(samples, "strangler_in_doubt_total", route=R) == 1


def test_gauges_begin_with_what_the_store_held(telemetry: Telemetry) -> None:
    telemetry.seed(
        [
            InFlight(R, State.WAITING, False, 7),
            InFlight(R, State.IN_DOUBT, True, 2),
            InFlight(R, State.IN_DOUBT, False, 3),
        ]
    )
    samples = scraped(telemetry)
    assert value(samples, "strangler_processes", route=R, state="waiting") == 7
    assert value(samples, "strangler_processes", route=R, state="in_doubt") == 5
    assert value(samples, "strangler_unconfirmed_processes", route=R) == 3


def test_attempts_are_counted_by_outcome_and_timed(telemetry: Telemetry) -> None:
    telemetry.attempt_ended(a_process(), an_attempt())
    telemetry.attempt_ended(a_process(), an_attempt(AttemptOutcome.INTERRUPTED))
    telemetry.attempt_ended(a_process(), an_attempt(AttemptOutcome.NOT_SENT))
    samples = scraped(telemetry)
    for outcome, count in (("completed", 1), ("interrupted", 1), ("not_sent", 1), ("refused", 0)):
        assert value(samples, "strangler_attempts_total", route=R, outcome=outcome) == count
    assert value(samples, "strangler_attempt_seconds_count", route=R) == 3
    assert value(samples, "strangler_attempt_seconds_sum", route=R) == 4.5


def test_late_replies_are_counted_by_whether_they_settled_it(telemetry: Telemetry) -> None:
    telemetry.late_reply(a_process(), settled=True)
    telemetry.late_reply(a_process(), settled=False)
    telemetry.late_reply(a_process(), settled=False)
    samples = scraped(telemetry)
    assert value(samples, "strangler_late_replies_total", route=R, settled="yes") == 1
    assert value(samples, "strangler_late_replies_total", route=R, settled="no") == 2


def test_polls_are_counted_by_route_and_resource(telemetry: Telemetry) -> None:
    telemetry.polled(R, "status")
    telemetry.polled(R, "status")
    telemetry.polled(R, "result")
    telemetry.polled("", "list")
    samples = scraped(telemetry)
    assert value(samples, "strangler_polls_total", route=R, resource="status") == 2
    assert value(samples, "strangler_polls_total", route=R, resource="result") == 1
    assert value(samples, "strangler_polls_total", route="(none)", resource="list") == 1


@pytest.mark.parametrize(
    ("status", "label"),
    [
        (101, "1xx"),
        (200, "2xx"),
        (304, "3xx"),
        (404, "4xx"),
        (499, "client_left"),
        (503, "5xx"),
        (999, "other"),
        (-1, "other"),
    ],
)
def test_passthrough_is_counted_by_the_class_of_the_status(telemetry: Telemetry, status: int, label: str) -> None:
    telemetry.passed_through("default", status, 0.005)
    samples = scraped(telemetry)
    assert value(samples, "strangler_passthrough_requests_total", route="default", status=label) == 1
    assert value(samples, "strangler_passthrough_seconds_bucket", route="default", le="0.0025") == 0
    assert value(samples, "strangler_passthrough_seconds_bucket", route="default", le="0.005") == 1


def test_a_group_commit_tells_its_size_and_its_time(telemetry: Telemetry) -> None:
    telemetry.group_commit(17, 0.002)
    samples = scraped(telemetry)
    assert value(samples, "strangler_group_commit_changes_bucket", le="16.0") == 0
    assert value(samples, "strangler_group_commit_changes_bucket", le="32.0") == 1
    assert value(samples, "strangler_group_commit_changes_sum") == 17
    assert value(samples, "strangler_group_commit_seconds_sum") == 0.002


def test_what_holds_traffic_back_is_read_when_scraped(telemetry: Telemetry) -> None:
    standing = {
        R: StandingReading(held=True, circuit="open", mode=None),
        "quote": StandingReading(held=False, circuit=None, mode="compat"),
    }
    telemetry.watch_standing(lambda: standing)
    telemetry.watch_memory(lambda: 2)
    samples = scraped(telemetry)
    assert value(samples, "strangler_route_held", route=R) == 1
    assert value(samples, "strangler_route_held", route="quote") == 0
    assert value(samples, "strangler_circuit", route=R, state="open") == 1
    assert value(samples, "strangler_circuit", route=R, state="closed") == 0
    assert value(samples, "strangler_circuit", route="quote", state="open") is None
    assert value(samples, "strangler_route_mode_ordered", route="quote", mode="compat") == 1
    assert value(samples, "strangler_route_mode_ordered", route=R, mode="compat") is None
    assert value(samples, "strangler_workers_short_of_memory") == 2


def test_who_sent_too_much_is_counted_by_what_was_sent(telemetry: Telemetry) -> None:
    telemetry.accepted(a_process(), 0.003)
    telemetry.limited(R, "polls")
    telemetry.limited(R, "polls")
    samples = scraped(telemetry)
    assert value(samples, "strangler_limited_total", route=R, kind="polls") == 2
    assert value(samples, "strangler_limited_total", route=R, kind="accepts") == 0


def test_queues_the_log_of_the_store_and_draining_are_read_when_scraped(telemetry: Telemetry) -> None:
    readings = {R: QueueReading(waiting=5, waiting_bytes=4096, running=2, oldest_age=1.5)}
    telemetry.watch_queues(lambda: readings)
    telemetry.watch_wal(lambda: 8192)
    telemetry.watch_streams(lambda: {"events": 3, "socket": 0})
    draining = False
    telemetry.watch_draining(lambda: draining)
    samples = scraped(telemetry)
    assert value(samples, "strangler_queue_processes", route=R) == 5
    assert value(samples, "strangler_queue_bytes", route=R) == 4096
    assert value(samples, "strangler_queue_oldest_seconds", route=R) == 1.5
    assert value(samples, "strangler_calls_running", route=R) == 2
    assert value(samples, "strangler_store_wal_bytes") == 8192
    assert value(samples, "strangler_open_streams", kind="events") == 3
    assert value(samples, "strangler_open_streams", kind="socket") == 0
    assert value(samples, "strangler_draining") == 0
    draining = True
    readings[R] = QueueReading(0, 0, 0, 0.0)
    samples = scraped(telemetry)
    assert value(samples, "strangler_draining") == 1
    assert value(samples, "strangler_queue_processes", route=R) == 0


def test_a_store_without_a_write_ahead_log_has_no_size_of_one(telemetry: Telemetry) -> None:
    assert value(scraped(telemetry), "strangler_store_wal_bytes") is None


def test_what_is_degraded_is_a_gauge_and_a_reason_until_it_is_over(telemetry: Telemetry) -> None:
    assert telemetry.degraded() == {}
    telemetry.store_refuses("the disk is full")
    telemetry.policy_refused("routes.yaml:3:5: unknown key")
    samples = scraped(telemetry)
    assert value(samples, "strangler_store_refusing") == 1
    assert value(samples, "strangler_policy_stale") == 1
    assert value(samples, "strangler_policy_reload_failures_total") == 1
    assert telemetry.degraded() == {"store": "the disk is full", "policy": "routes.yaml:3:5: unknown key"}
    telemetry.store_refuses(None)
    telemetry.policy_loaded("beef", 1)
    samples = scraped(telemetry)
    assert value(samples, "strangler_store_refusing") == 0
    assert value(samples, "strangler_policy_stale") == 0
    assert value(samples, "strangler_policy_reload_failures_total") == 1
    assert telemetry.degraded() == {}


def test_only_the_revision_in_force_is_told(telemetry: Telemetry) -> None:
    telemetry.policy_loaded("one", 3)
    telemetry.policy_loaded("two", 4)
    samples = scraped(telemetry)
    assert value(samples, "strangler_policy_reloads_total") == 2
    assert value(samples, "strangler_policy_routes") == 4
    assert [dict(labels) for name, labels in samples if name == "strangler_policy_info"] == [{"revision": "two"}]


def test_the_series_of_a_route_begin_at_nought_with_its_policy(telemetry: Telemetry) -> None:
    telemetry.policy_loaded("one", 2, names=[R, "default"], recording=[R])
    samples = scraped(telemetry)
    assert value(samples, "strangler_accepted_total", route=R) == 0
    assert value(samples, "strangler_completion_seconds_count", route=R) == 0
    assert value(samples, "strangler_polls_total", route=R, resource="status") == 0
    assert value(samples, "strangler_passthrough_requests_total", route="default", status="2xx") == 0
    assert value(samples, "strangler_accepted_total", route="default") is None


def test_a_route_that_leaves_the_policy_or_records_no_more_keeps_its_series(telemetry: Telemetry) -> None:
    telemetry.policy_loaded("one", 1, names=[R], recording=[R])
    for revision, names in (("two", ["other"]), ("three", [R])):
        telemetry.policy_loaded(revision, 1, names=names, recording=[])
        assert value(scraped(telemetry), "strangler_accepted_total", route=R) == 0


def test_the_number_of_series_is_bounded_whatever_is_told(telemetry: Telemetry) -> None:
    for number in range(series.MAX_ROUTES + 50):
        telemetry.polled(f"route-{number}", f"resource-{number}")
        telemetry.refused(R, f"code-{number}")
        telemetry.failed(f"place-{number}", RuntimeError())
    samples = scraped(telemetry)
    labels = {label for _, labels in samples for label in labels}
    assert len([label for label, _ in labels if label == "route"]) <= series.MAX_ROUTES + 1
    assert {text for label, text in labels if label == "code"} == {"(other)"}
    assert {text for label, text in labels if label == "resource"} == {"(other)"}
    assert len([label for label, _ in labels if label == "place"]) <= 101
    assert (
        sum(count for (name, _), count in samples.items() if name == "strangler_polls_total") == series.MAX_ROUTES + 50
    )


def test_defects_are_counted_by_place(telemetry: Telemetry) -> None:
    telemetry.failed("executor", RuntimeError("boom"))
    assert value(scraped(telemetry), "strangler_defects_total", place="executor") == 1


def test_the_server_says_what_it_is_and_since_when(telemetry: Telemetry) -> None:
    samples = scraped(telemetry)
    builds = [dict(labels) for name, labels in samples if name == "strangler_build_info"]
    assert [build["version"] for build in builds] == ["1.2.3"]
    assert value(samples, "strangler_start_time_seconds") == STARTED_AT / 1000
    assert any(name.startswith("python_gc") for name, _ in samples)


def test_two_servers_in_one_interpreter_count_apart() -> None:
    one, other = (Telemetry(Logs(lambda data: None), version="1", started_at=0) for _ in range(2))
    one.accepted(a_process(), 0.001)
    assert value(scraped(one), "strangler_accepted_total", route=R) == 1
    assert value(scraped(other), "strangler_accepted_total", route=R) is None


def test_every_metric_has_a_text_and_a_name_of_its_own_and_no_other_is_told(telemetry: Telemetry) -> None:
    telemetry.watch_wal(lambda: 1)
    telemetry.counts.read()
    told = [metric.name for metric in telemetry.counts.collect()]
    assert told == [family.name for family in FAMILIES]
    assert len(set(told)) == len(told)
    assert all(family.help.endswith(".") and family.name.startswith("strangler_") for family in FAMILIES)


# ── Deliveries ───────────────────────────────────────────────────────────────────────────────────────────────────────


def tell(telemetry: Telemetry, outcome: Tried, state: DeliveryState, seconds: float | None = None) -> None:
    delivery = Delivery(PROCESS_ID, 3, 0, "broker-a", None, PublicState.COMPLETED, 0, state)
    telemetry.delivery_tried(delivery, DeliveryAttempt(PROCESS_ID, 3, 0, 1, 0, 7, outcome, status=500), seconds)


def test_attempts_to_tell_a_receiver_are_counted_by_what_came_of_them(telemetry: Telemetry) -> None:
    tell(telemetry, Tried.REFUSED, DeliveryState.PENDING)
    tell(telemetry, Tried.UNREACHED, DeliveryState.DEAD)
    tell(telemetry, Tried.DELIVERED, DeliveryState.DELIVERED, 0.2)
    samples = scraped(telemetry)
    attempts = {
        answer: value(samples, "strangler_delivery_attempts_total", receiver="broker-a", answer=answer)
        for answer in Tried
    }
    assert attempts == {"delivered": 1, "refused": 1, "unreached": 1, "forbidden": 0, "ours": 0}
    ended = "strangler_deliveries_ended_total"
    assert value(samples, ended, receiver="broker-a", delivery="delivered") == 1
    assert value(samples, ended, receiver="broker-a", delivery="dead") == 1
    assert value(samples, "strangler_delivery_seconds_bucket", receiver="broker-a", le="0.25") == 1
    assert value(samples, "strangler_delivery_seconds_bucket", receiver="broker-a", le="0.1") == 0


def test_what_is_to_be_told_is_read_at_the_scrape(telemetry: Telemetry) -> None:
    totals = [
        DeliveryTotal("broker-a", DeliveryState.PENDING, 7, 0),
        DeliveryTotal("partners", DeliveryState.DEAD, 2, None),
    ]
    telemetry.watch_deliveries(lambda: totals)
    samples = scraped(telemetry)
    assert value(samples, "strangler_deliveries", receiver="broker-a", delivery="pending") == 7
    assert value(samples, "strangler_deliveries", receiver="broker-a", delivery="dead") == 0
    assert value(samples, "strangler_deliveries", receiver="partners", delivery="dead") == 2
    age = value(samples, "strangler_delivery_oldest_seconds", receiver="broker-a")
    assert age is not None
    assert age > 1e9
    assert value(samples, "strangler_delivery_oldest_seconds", receiver="partners") is None
