"""The check finds lost, duplicated, disordered and invalid events, and no others."""

from array import array

from chaos.deliveries import (
    ClientLog,
    DataLoss,
    DeliveryReport,
    FeedLog,
    Segment,
    check_deliveries,
)


def segment(
    start: int, *ids: int, position: int = 0, ended: str | None = None, skipped: int | None = None
) -> Segment:
    created = Segment(start)
    for n, id in enumerate(ids):
        created.add(id, float(n))
    created.position = max(created.position, position)
    created.ended, created.ended_at, created.skipped = ended, float(len(ids)), skipped
    return created


def check(feed: FeedLog, *segments: Segment) -> DeliveryReport:
    return check_deliveries(ClientLog(list(segments)), feed)


FEED = FeedLog(array("q", range(1, 11)))


def test_client_with_every_event_since_its_board_has_no_loss() -> None:
    report = check(FEED, segment(4, 5, 6, 7, 8, 9, 10))
    assert (report.delivered, report.unreported, report.duplicated, report.out_of_order) == (
        6,
        0,
        0,
        0,
    )


def test_missing_event_between_two_delivered_ones_is_an_unreported_loss() -> None:
    assert check(FEED, segment(4, 5, 6, 8, 9)).unreported == 1


def test_missing_event_before_the_last_id_of_any_frame_is_an_unreported_loss() -> None:
    assert check(FEED, segment(4, 5, 6, position=8)).unreported == 2


def test_events_between_a_reset_and_its_board_are_reported() -> None:
    report = check(FEED, segment(2, 3, 4, ended="reset"), segment(7, 8, 9, 10))
    assert (report.reported, report.unreported, report.resets) == (3, 0, 1)


def test_skipped_event_with_a_count_too_low_leaves_the_rest_unreported() -> None:
    right = check(FEED, segment(2, 3, 4, ended="skipped", skipped=3), segment(7, 8, 9, 10))
    wrong = check(FEED, segment(2, 3, 4, ended="skipped", skipped=1), segment(7, 8, 9, 10))
    assert (right.unreported, right.skips, right.reported) == (0, 1, 3)
    assert wrong.unreported == 2


def test_repeated_event_without_a_reset_is_a_duplicate() -> None:
    report = check(FEED, segment(4, 5, 6, 5, 6, 7, 8, 9, 10))
    assert (report.duplicated, report.out_of_order, report.unreported) == (2, 1, 0)


def test_repeated_event_after_a_reset_is_no_duplicate() -> None:
    assert (
        check(FEED, segment(4, 5, 6, 7, ended="reset"), segment(5, 6, 7, 8, 9, 10)).duplicated == 0
    )


def test_client_that_received_events_which_redis_lost_needs_a_reset() -> None:
    feed = FeedLog(FEED.ids, [DataLoss(frozenset({6, 7}), resumed_at=8)])
    with_reset = check(feed, segment(4, 5, 6, 8, ended="reset"), segment(8, 9, 10))
    without_reset = check(feed, segment(4, 5, 6, 8, 9, 10))
    assert (with_reset.unreported, with_reset.redis_lost) == (0, 1)
    assert without_reset.unreported == 1


def test_late_reset_does_not_count() -> None:
    feed = FeedLog(FEED.ids, [DataLoss(frozenset({6, 7}), resumed_at=8)])
    late = segment(4, 5, 6, 8, ended="reset")
    late.ended_at = 60.0
    assert check(feed, late, segment(8, 9, 10)).unreported == 1


def test_event_that_is_not_in_the_feed_needs_a_data_loss_as_explanation() -> None:
    feed = FeedLog(array("q", [1, 2, 3, 8, 9]), [DataLoss(frozenset({3}), resumed_at=8)])
    assert check(feed, segment(1, 2, 3, 4, ended="reset"), segment(8, 9)).unreported == 0
    assert check(feed, segment(1, 2, 3, 4, 8, 9)).unreported == 2
    assert check(FEED, segment(9, 10, 11)).unreported == 1


def test_after_the_board_of_an_empty_feed_the_first_event_begins_the_segment() -> None:
    feed = FeedLog(FEED.ids, [DataLoss(frozenset(range(1, 8)), resumed_at=8)])
    report = check(feed, segment(5, 6, 7, ended="reset"), segment(0, 8, 9, 10))
    assert (report.unreported, report.delivered) == (0, 5)


def test_events_between_a_reset_and_its_board_are_unreported_when_they_arrive() -> None:
    assert check_deliveries(ClientLog([segment(9, 10)], orphans=3), FEED).unreported == 3


def test_client_without_a_board_is_an_unreported_loss() -> None:
    assert check_deliveries(ClientLog(), FEED).unreported == 1
