"""Redis addresses: every form of URL, the environment variables, and hidden passwords."""

import traceback
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pulseboard.bus.connection.address import ENVIRONMENT, Endpoint, RedisAddress
from pulseboard.wire.errors import ConfigError

SECRET = "hunter2"
TEXT = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://cache", RedisAddress("cache")),
        ("redis://cache:6380/2", RedisAddress("cache", 6380, 2)),
        ("redis://cache/", RedisAddress("cache")),
        ("rediss://u:p@cache", RedisAddress("cache", username="u", password="p", tls=True)),
        ("redis://:p@cache", RedisAddress("cache", password="p")),
        ("redis://u@cache", RedisAddress("cache", username="u")),
        (
            "redis://u:p%40s%2Fs%3A%25@cache",
            RedisAddress("cache", username="u", password="p@s/s:%"),
        ),
        ("redis://:p@ss@cache", RedisAddress("cache", password="p@ss")),
        ("redis://[::1]:6380", RedisAddress("::1", 6380)),
        ("redis://[2001:db8::1]", RedisAddress("2001:db8::1")),
        (
            "redis+sentinel://u:p@one,two:5000,[::1]/pulse",
            RedisAddress(
                "one",
                26_379,
                username="u",
                password="p",
                nodes=(Endpoint("one", 26_379), Endpoint("two", 5_000), Endpoint("::1", 26_379)),
                master="pulse",
            ),
        ),
        (
            "redis+sentinel://one/my%2Fmaster/3?sentinel_username=u&sentinel_password=p%26%23%2B+",
            RedisAddress(
                "one",
                26_379,
                3,
                nodes=(Endpoint("one", 26_379),),
                master="my/master",
                sentinel_username="u",
                sentinel_password="p&#++",
            ),
        ),
        (
            "redis+cluster://:p@one,TWO:7001/0",
            RedisAddress(
                "one", password="p", nodes=(Endpoint("one", 6_379), Endpoint("two", 7_001))
            ),
        ),
        (
            "rediss+cluster://one?ssl_ca_certs=/etc/my%20ca.pem&ssl_check_hostname=false",
            RedisAddress(
                "one",
                tls=True,
                nodes=(Endpoint("one", 6_379),),
                ssl_ca_certs="/etc/my ca.pem",
                ssl_check_hostname=False,
            ),
        ),
        (
            "rediss://one/2?ssl_certfile=/c.pem&ssl_keyfile=/k.pem",
            RedisAddress("one", 6_379, 2, tls=True, ssl_certfile="/c.pem", ssl_keyfile="/k.pem"),
        ),
        ("unix:///run/redis.sock", RedisAddress(path="/run/redis.sock")),
        (
            "unix://u:p@/run/my%20redis.sock",
            RedisAddress(path="/run/my redis.sock", username="u", password="p"),
        ),
    ],
)
def test_every_form_of_url_is_parsed(url: str, expected: RedisAddress) -> None:
    assert RedisAddress.parse(url) == expected
    assert RedisAddress.parse(expected.url) == expected


@given(
    host=st.sampled_from(["localhost", "10.0.0.7", "::1", "redis.example"]),
    port=st.integers(1, 65_535),
    db=st.integers(0, 100),
    username=st.none() | TEXT,
    password=st.none() | TEXT,
    tls=st.booleans(),
    master=st.none() | TEXT,
    nodes=st.lists(
        st.builds(Endpoint, st.sampled_from(["a", "::1"]), st.integers(1, 65_535)), max_size=3
    ),
    sentinel_password=st.none() | TEXT,
)
def test_address_is_unchanged_after_formatting_and_parsing_its_url(
    host: str,
    port: int,
    db: int,
    username: str | None,
    password: str | None,
    tls: bool,
    master: str | None,
    nodes: list[Endpoint],
    sentinel_password: str | None,
) -> None:
    standalone = RedisAddress(host, port, db, username, password, tls)
    assert RedisAddress.parse(standalone.url) == standalone
    multi_node = replace(standalone, nodes=(standalone.endpoint, *nodes))
    if master is None:
        address = replace(multi_node, db=0)
    else:
        address = replace(
            multi_node,
            master=master,
            sentinel_username=username,
            sentinel_password=sentinel_password,
        )
    assert RedisAddress.parse(address.url) == address


@pytest.mark.parametrize(
    "url",
    [
        f"http://:{SECRET}@cache",
        f"//:{SECRET}@cache",
        f"redis://:{SECRET}@",
        f"redis://:{SECRET}@cache:port",
        f"redis://:{SECRET}@cache:99999",
        f"redis://:{SECRET}@cache:0",
        f"redis://:{SECRET}@cache:6379/first",
        f"redis://:{SECRET}@cache?db={SECRET}",
        f"redis://:{SECRET}@cache#{SECRET}",
        f"redis://:{SECRET}@[::1",
        f"unix://:{SECRET}@",
        f"unix://:{SECRET}@relative/path",
        f"redis://:{SECRET}/rest@cache",
        f"redis://:pa/{SECRET}@cache",
        f"redis://:pa#{SECRET}@cache",
        f"redis://:pa?{SECRET}@cache",
        f"redis://user:12/{SECRET}@cache",
        f"redis://user:12#{SECRET}@cache",
        f"redis://:{SECRET}@cache?ssl_ca_certs={SECRET}",
        f"rediss://:{SECRET}@cache?ssl_ca_certs=",
        f"rediss://:{SECRET}@cache?ssl_check_hostname={SECRET}",
        f"rediss://:{SECRET}@cache?sentinel_password={SECRET}",
        f"redis+sentinel://:{SECRET}@one,two",
        f"redis+sentinel://:{SECRET}@one,/pulse",
        f"redis+sentinel://:{SECRET}@one:0,two/pulse",
        f"redis+sentinel://:{SECRET}@one/pulse/{SECRET}",
        f"redis+sentinel://:{SECRET}@one/pulse?password={SECRET}",
        f"redis+cluster://:{SECRET}@one/1",
        f"redis+cluster://:{SECRET}@",
        f"redis+ring://:{SECRET}@one",
        f"redis://:{SECRET}@one,two",
        f"redis://us[er:{SECRET}@one",
        "redis://",
        "cache:6379",
        "",
    ],
)
def test_invalid_url_is_refused_without_showing_its_password(url: str) -> None:
    """A '/' in a password ends the host part of a URL.

    The rest of the password was shown as the port or the database, and in the error's cause.
    """
    with pytest.raises(ConfigError) as refusal:
        RedisAddress.parse(url)
    shown = "".join(traceback.format_exception(refusal.value))
    assert SECRET not in shown.replace(f'parse("{url}")', "")
    assert "REDIS_URL" in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    "url",
    [
        f"redis://u:{SECRET}@cache:6380/2",
        f"unix://:{SECRET}@/run/redis.sock",
        f"redis+cluster://:{SECRET}@one,two",
        f"rediss+sentinel://:{SECRET}@one,two/pulse",
        f"redis+sentinel://one,two/pulse?sentinel_password={SECRET}",
    ],
)
def test_address_never_shows_its_password(url: str) -> None:
    address = RedisAddress.parse(url)
    for shown in (str(address), repr(address), f"{address}", "%s" % address, f"{[address]}"):  # noqa: UP031
        assert SECRET not in shown
    assert "***" in str(address)
    assert SECRET in address.url


def test_address_without_any_variable_is_a_guess_at_localhost() -> None:
    address = RedisAddress.from_env({})
    assert (str(address), address.given) == ("redis://localhost:6379", False)


@pytest.mark.parametrize("name", ENVIRONMENT)
def test_empty_variable_counts_as_absent(name: str) -> None:
    assert not RedisAddress.from_env({name: ""}).given


def test_variables_of_the_original_specification_give_an_address() -> None:
    env = {
        "REDIS_HOST": "cache",
        "REDIS_PORT": "6380",
        "REDIS_USERNAME": "u",
        "REDIS_PASSWORD": SECRET,
        "REDIS_DB": "3",
    }
    assert RedisAddress.from_env(env) == RedisAddress("cache", 6380, 3, "u", SECRET)


def test_argument_overrides_redis_url_which_overrides_host_and_port() -> None:
    env = {"REDIS_URL": "redis://second", "REDIS_HOST": "third", "REDIS_PORT": "nonsense"}
    assert RedisAddress.from_env(env, url="redis://first").host == "first"
    assert RedisAddress.from_env(env).host == "second"


def test_environment_of_the_process_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_HOST", "cache")
    assert RedisAddress.from_env() == RedisAddress("cache")


@pytest.mark.parametrize(
    ("env", "variable"),
    [
        (
            {"REDIS_PORT": "tcp://10.0.0.1:6379"},
            "REDIS_PORT",
        ),  # Kubernetes sets this for a service named redis
        ({"REDIS_PORT": "0"}, "REDIS_PORT"),
        ({"REDIS_PORT": "65536"}, "REDIS_PORT"),
        ({"REDIS_DB": "-1"}, "REDIS_DB"),
        ({"REDIS_HOST": f"redis://:{SECRET}@cache"}, "REDIS_HOST"),
        ({"REDIS_URL": "cache"}, "REDIS_URL"),
    ],
)
def test_invalid_variable_is_named_in_the_error(env: dict[str, str], variable: str) -> None:
    with pytest.raises(ConfigError, match=variable) as refusal:
        RedisAddress.from_env(env)
    assert SECRET not in str(refusal.value)
