"""`GET /api/services` and `/api/services/{name}`: the board at one moment, for scripts."""

import json
from typing import Any

import redis
from tests.support.server import EXPECTED, ExternalPublisher, ServeFixture, Server, eventually
from tests.support.valkey import run_valkey


def services(server: Server) -> dict[str, Any]:
    return {service["name"]: service for service in server.get("/api/services").json()["services"]}


async def test_every_service_is_listed_by_name_whether_expected_or_not(
    server: Server, publish: ExternalPublisher
) -> None:
    assert [*services(server)] == sorted(EXPECTED)
    assert services(server)["balance-sync"] == {
        "name": "balance-sync",
        "expected": True,
        "instances": [],
    }
    publish("another", done=7)
    publish("balance-sync", done=8)
    await eventually(
        lambda: services(server)["balance-sync"]["instances"] and "another" in services(server)
    )
    assert [*services(server)] == [
        "account-discovery",
        "account-enrichment",
        "another",
        "balance-sync",
    ]
    another = services(server)["another"]
    assert another["expected"] is False
    (instance,) = another["instances"]
    assert (instance["state"], instance["status"], instance["heartbeat_s"]) == (
        "silent",
        {"done": 7},
        None,
    )
    assert server.get("/api/services/another").json() == another


async def test_state_of_each_instance_follows_from_its_signs_of_life(
    server: Server, raw: redis.Redis, prefix: str
) -> None:
    fields_by_instance: dict[str, dict[str, Any]] = {
        "a": {"heartbeat_s": 0.2},
        "b": {"heartbeat_s": 600},
        "c": {"stopped": True},
    }
    for instance, more in fields_by_instance.items():
        event = {
            "service": "balance-sync",
            "timestamp": 1,
            "status": {},
            "instance": instance,
        } | more
        raw.publish(f"{prefix}balance-sync", json.dumps(event))

    def states() -> dict[str, str]:
        return {
            each["instance"]: each["state"]
            for each in services(server)["balance-sync"]["instances"]
        }

    await eventually(lambda: states() == {"a": "lost", "b": "alive", "c": "stopped"})
    document = server.get("/api/services").json()
    assert document["blind"] is None
    assert all(
        each["seen"] <= document["observed_until"] <= document["now"]
        for each in document["services"][2]["instances"]
    )


async def test_every_state_is_unknown_while_the_server_is_blind(
    serve: ServeFixture, prefix: str
) -> None:
    with run_valkey() as valkey:
        server = serve(valkey.address)
        await eventually(server.is_ready)
        with redis.Redis(port=valkey.address.port) as raw:
            raw.publish(
                f"{prefix}another",
                json.dumps({"service": "another", "timestamp": 1, "status": {"a": 1}}),
            )
        await eventually(lambda: "another" in services(server))
        valkey.stop()
        await eventually(lambda: server.get("/api/services").json()["blind"])
        (instance,) = services(server)["another"]["instances"]
        assert (instance["state"], instance["status"]) == ("unknown", {"a": 1})


async def test_unknown_service_is_answered_with_a_problem(server: Server) -> None:
    for name, status, code in (
        ("unheard-of", 404, "unknown-service"),
        ("No-Name", 400, "bad-name"),
    ):
        answer = server.get(f"/api/services/{name}")
        assert (answer.status_code, answer.json()["code"]) == (status, code)
        assert answer.headers["content-type"] == "application/problem+json"
