"""The check of external messages: in the feed once, or in a coverage gap."""

from chaos.external import (
    AcceptedBatch,
    ExternalReport,
    RedisOutcome,
    ReportedGap,
    check_external,
)

ACCEPTED = [
    AcceptedBatch(range(10), 1_000.0, 1_010.0, 2),
    AcceptedBatch(range(10, 20), 2_000.0, 2_010.0, 1),
]
ALL = dict.fromkeys(range(20), 1)
FIRST_ONLY = dict.fromkeys(range(10), 1)


def check(
    ingested: dict[int, int],
    *gaps: ReportedGap,
    redis: RedisOutcome = "stays",
    reported_to_all: bool = True,
) -> ExternalReport:
    return check_external(
        ACCEPTED, ingested, [list(gaps), list(gaps) if reported_to_all else []], redis
    )


def test_messages_that_are_in_the_feed_once_give_an_empty_report() -> None:
    assert check(ALL) == ExternalReport()


def test_message_that_is_in_the_feed_twice_is_a_duplicate() -> None:
    report = check(ALL | {3: 2})
    assert (report.duplicated, report.lost) == (1, 0)
    assert report.notes == ["1 of 20 external messages are in the feed more than once"]


def test_message_to_one_server_is_lost_unless_every_client_has_a_gap_at_its_time() -> None:
    for gaps in [(), (ReportedGap(1_000, 1_999),), (ReportedGap(2_011, None),)]:
        assert check(FIRST_ONLY, *gaps).lost == 10
    for gap in [ReportedGap(1_500, 2_005), ReportedGap(2_005, 2_006), ReportedGap(2_010, None)]:
        report = check(FIRST_ONLY, gap)
        assert (report.lost, report.reported) == (0, 10)
        assert check(FIRST_ONLY, gap, reported_to_all=False).lost == 10


def test_message_to_two_servers_is_lost_despite_a_gap_unless_redis_was_away() -> None:
    second_only = dict.fromkeys(range(10, 20), 1)
    assert check(second_only, ReportedGap(0, None)).lost == 10
    assert check(second_only, ReportedGap(0, None), redis="returns").reported == 10


def test_missing_messages_are_only_counted_where_redis_may_lose_data() -> None:
    report = check(FIRST_ONLY, redis="unsure")
    assert (report.lost, report.reported) == (0, 0)
    assert report.notes == ["10 of 20 external messages were received by no server"]
