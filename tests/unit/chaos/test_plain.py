"""The account of plain publishes: in the feed once, or told of."""

from chaos.plain import Keeping, PlainAccount, Span, Taken, settle_plain

TAKEN = [Taken(range(10), 1_000.0, 1_010.0, 2), Taken(range(10, 20), 2_000.0, 2_010.0, 1)]
ALL = dict.fromkeys(range(20), 1)
FIRST_ONLY = dict.fromkeys(range(10), 1)


def settle(
    adoptions: dict[int, int], *told: Span, keeping: Keeping = "stays", others_told: bool = True
) -> PlainAccount:
    return settle_plain(TAKEN, adoptions, [list(told), list(told) if others_told else []], keeping)


def test_all_in_the_feed_once_is_well() -> None:
    assert settle(ALL) == PlainAccount()


def test_one_that_is_there_twice_is_said() -> None:
    account = settle(ALL | {3: 2})
    assert (account.twice, account.lost) == (1, 0)
    assert account.notes == ["1 of 20 plain publishes are in the feed more than once"]


def test_what_only_one_server_heard_is_lost_unless_every_reader_was_told_of_that_time() -> None:
    for spans in [(), (Span(1_000, 1_999),), (Span(2_011, None),)]:
        assert settle(FIRST_ONLY, *spans).lost == 10
    for span in [Span(1_500, 2_005), Span(2_005, 2_006), Span(2_010, None)]:
        account = settle(FIRST_ONLY, span)
        assert (account.lost, account.told) == (0, 10)
        assert settle(FIRST_ONLY, span, others_told=False).lost == 10


def test_what_a_server_heard_that_stayed_is_lost_whatever_was_told() -> None:
    second_only = dict.fromkeys(range(10, 20), 1)
    assert settle(second_only, Span(0, None)).lost == 10
    assert settle(second_only, Span(0, None), keeping="returns").told == 10


def test_where_redis_may_lose_what_it_took_it_is_only_counted() -> None:
    account = settle(FIRST_ONLY, keeping="unsure")
    assert (account.lost, account.told) == (0, 0)
    assert account.notes == ["10 of 20 plain publishes were heard by no server"]
