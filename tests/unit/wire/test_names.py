"""Names of services, instances and channels."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pulseboard.wire.errors import InvalidEvent, InvalidName
from pulseboard.wire.names import (
    RESERVED,
    camel_case,
    check_instance_name,
    check_service_name,
    format_channel,
    parse_channel,
)

SERVICE_NAMES = st.from_regex(r"[a-z0-9][a-z0-9._-]{0,63}", fullmatch=True).filter(
    lambda name: name not in RESERVED
)


@given(SERVICE_NAMES, st.sampled_from(["service:", "", "staging:service:", "*[x]?:"]))
def test_channel_of_a_service_parses_to_that_service(name: str, prefix: str) -> None:
    assert parse_channel(format_channel(check_service_name(name), prefix), prefix) == name


@given(st.text())
def test_any_text_has_the_documented_shape_or_is_refused(text: str) -> None:
    has_documented_shape = (
        0 < len(text) <= 64
        and text[0] in string.ascii_lowercase + string.digits
        and set(text) <= set(string.ascii_lowercase + string.digits + "._-")
        and text not in RESERVED
    )
    if has_documented_shape:
        assert check_service_name(text) == text
        return
    with pytest.raises(InvalidName):
        check_service_name(text)


@pytest.mark.parametrize("name", sorted(RESERVED))
def test_reserved_channel_name_is_refused_as_a_service_name(name: str) -> None:
    with pytest.raises(
        InvalidName, match=f"the channel of that name carries the {name} of all services"
    ):
        check_service_name(name)


def test_refused_name_is_cut_and_escaped_in_the_error() -> None:
    with pytest.raises(InvalidName) as refusal:
        check_service_name("a\r\n" + "x" * 10_000)
    assert len(str(refusal.value)) < 300
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("name", ["", "host-1:4711", "Büro 3", "x" * 128])
def test_instance_name_may_use_any_script(name: str) -> None:
    assert check_instance_name(name) == name


@pytest.mark.parametrize("name", ["a/b", "x" * 129, "a\nb", "a\x00", "\ud800", "\u2028"])
def test_instance_name_that_would_break_a_field_or_a_line_is_refused(name: str) -> None:
    with pytest.raises(InvalidName):
        check_instance_name(name)


@pytest.mark.parametrize(
    "channel", ["balance-sync", "other:balance-sync", "", "Service:balance-sync"]
)
def test_channel_without_the_prefix_is_unknown(channel: str) -> None:
    with pytest.raises(InvalidEvent) as refusal:
        parse_channel(channel)
    assert refusal.value.reason == "unknown-channel"


@pytest.mark.parametrize(
    ("service", "key"),
    [
        ("balance-sync", "balanceSync"),
        ("account-discovery", "accountDiscovery"),
        ("account-enrichment", "accountEnrichment"),
        ("report", "report"),
        ("a.b_c-d", "aBCD"),
        ("db-2-sync", "db2Sync"),
        ("a--b", "aB"),
        ("tail-", "tail"),
    ],
)
def test_snapshot_keys_are_service_names_in_camel_case(service: str, key: str) -> None:
    assert camel_case(service) == key
