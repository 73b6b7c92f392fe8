"""The ledger: it finds what is lost, doubled, out of order or untrue, and nothing where there is nothing."""

from array import array

from chaos.ledger import Account, Break, Log, Streak, Truth, settle


def streak(
    start: int, *ids: int, claim: int = 0, ended: str | None = None, skipped: int | None = None
) -> Streak:
    made = Streak(start)
    for n, id in enumerate(ids):
        made.add(id, float(n))
    made.claim = max(made.claim, claim)
    made.ended, made.ended_at, made.skipped = ended, float(len(ids)), skipped
    return made


def settled(truth: Truth, *streaks: Streak) -> Account:
    return settle(Log(list(streaks)), truth)


FEED = Truth(array("q", range(1, 11)))


def test_a_reader_that_got_all_since_its_board_lacks_nothing() -> None:
    account = settled(FEED, streak(4, 5, 6, 7, 8, 9, 10))
    assert (account.delivered, account.unnoticed, account.duplicated, account.disordered) == (
        6,
        0,
        0,
        0,
    )


def test_an_event_that_never_came_between_two_that_did_is_lost_unnoticed() -> None:
    assert settled(FEED, streak(4, 5, 6, 8, 9)).unnoticed == 1


def test_an_event_before_the_last_id_that_any_frame_carried_is_owed() -> None:
    assert settled(FEED, streak(4, 5, 6, claim=8)).unnoticed == 2


def test_what_stands_between_two_boards_is_told_by_the_reset() -> None:
    account = settled(FEED, streak(2, 3, 4, ended="reset"), streak(7, 8, 9, 10))
    assert (account.told, account.unnoticed, account.resets) == (3, 0, 1)


def test_a_skipped_that_counts_too_few_hides_the_rest() -> None:
    right = settled(FEED, streak(2, 3, 4, ended="skipped", skipped=3), streak(7, 8, 9, 10))
    wrong = settled(FEED, streak(2, 3, 4, ended="skipped", skipped=1), streak(7, 8, 9, 10))
    assert (right.unnoticed, right.skips, right.told) == (0, 1, 3)
    assert wrong.unnoticed == 2


def test_an_event_that_came_twice_without_a_reset_is_a_duplicate() -> None:
    account = settled(FEED, streak(4, 5, 6, 5, 6, 7, 8, 9, 10))
    assert (account.duplicated, account.disordered, account.unnoticed) == (2, 1, 0)


def test_an_event_that_comes_again_after_a_reset_is_none() -> None:
    assert (
        settled(FEED, streak(4, 5, 6, 7, ended="reset"), streak(5, 6, 7, 8, 9, 10)).duplicated == 0
    )


def test_whoever_saw_what_redis_lost_must_be_told() -> None:
    lossy = Truth(FEED.ids, [Break(frozenset({6, 7}), resumes_at=8)])
    told = settled(lossy, streak(4, 5, 6, 8, ended="reset"), streak(8, 9, 10))
    untold = settled(lossy, streak(4, 5, 6, 8, 9, 10))
    assert (told.unnoticed, told.vanished) == (0, 1)
    assert untold.unnoticed == 1


def test_being_told_late_is_not_being_told() -> None:
    lossy = Truth(FEED.ids, [Break(frozenset({6, 7}), resumes_at=8)])
    late = streak(4, 5, 6, 8, ended="reset")
    late.ended_at = 60.0
    assert settled(lossy, late, streak(8, 9, 10)).unnoticed == 1


def test_an_event_that_nobody_else_saw_must_be_explained_by_a_loss() -> None:
    lossy = Truth(array("q", [1, 2, 3, 8, 9]), [Break(frozenset({3}), resumes_at=8)])
    assert settled(lossy, streak(1, 2, 3, 4, ended="reset"), streak(8, 9)).unnoticed == 0
    assert settled(lossy, streak(1, 2, 3, 4, 8, 9)).unnoticed == 2
    assert settled(FEED, streak(9, 10, 11)).unnoticed == 1


def test_a_board_of_an_empty_feed_owes_what_comes_next() -> None:
    lossy = Truth(FEED.ids, [Break(frozenset(range(1, 8)), resumes_at=8)])
    account = settled(lossy, streak(5, 6, 7, ended="reset"), streak(0, 8, 9, 10))
    assert (account.unnoticed, account.delivered) == (0, 5)


def test_events_between_a_reset_and_its_board_belong_to_nobody() -> None:
    assert settle(Log([streak(9, 10)], orphans=3), FEED).unnoticed == 3


def test_a_reader_without_a_board_has_lost_everything() -> None:
    assert settle(Log(), FEED).unnoticed == 1
