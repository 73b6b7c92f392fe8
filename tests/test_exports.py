"""The package's front door."""

import pulseboard


def test_all_is_sorted_and_everything_in_it_is_there() -> None:
    assert pulseboard.__all__ == sorted(pulseboard.__all__)
    for name in pulseboard.__all__:
        assert getattr(pulseboard, name) is not None


def test_whatever_is_importable_by_a_public_name_is_in_all() -> None:
    public = {
        name
        for name, value in vars(pulseboard).items()
        if not name.startswith("_") and getattr(value, "__module__", "").startswith("pulseboard.")
    }
    assert public == set(pulseboard.__all__)
