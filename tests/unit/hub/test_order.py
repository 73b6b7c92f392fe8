"""Clients of any speed get every event in one order, or a message that announces the gap."""

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.examples import examples
from tests.support.hub import (
    ListSink,
    attach,
    entry,
    messages,
    reset,
)

from pulseboard.bus.clock import RedisClock
from pulseboard.bus.feed.entries import Batch
from pulseboard.bus.rejections import Rejections
from pulseboard.hub.board import Board
from pulseboard.hub.connection import Connection
from pulseboard.hub.hub import Hub
from pulseboard.hub.options import HubOptions
from pulseboard.hub.ring import Ring
from pulseboard.hub.view import View
from pulseboard.wire.cursor import Cursor


class TestOrder:
    @settings(max_examples=examples(60), deadline=None)
    @given(st.data())
    def test_every_client_sees_one_order_and_each_gap_is_announced(
        self, data: st.DataObject
    ) -> None:
        """Clients of any speed attach, detach and resume during batches of any size.

        Each client keeps what a page would keep. In the end every client has the board, no client
        saw an event twice or out of order, and each event that a client did not see is covered by
        a `reset` or by its first board.
        """
        hub = Hub(Board(), RedisClock(), Rejections(), HubOptions(), ring=Ring(max_frames=12))
        hub.apply(reset(0))
        clients: list[_Client] = []
        n = 0
        for _ in range(data.draw(st.integers(1, 40))):
            action = data.draw(
                st.sampled_from(["events", "events", "attach", "resume", "read", "reset"])
            )
            if action == "events":
                count = data.draw(st.integers(1, 5))
                batch = [
                    entry(n + i, data.draw(st.sampled_from("ab"))) for i in range(1, count + 1)
                ]
                n += count
                hub.apply(Batch(batch))
            elif action == "attach":
                clients.append(_Client(hub, data.draw(st.one_of(st.none(), st.integers(0, 3)))))
            elif action == "reset":
                n += 1
                hub.apply(reset(n, entry(n, "a"), reason="a failover"))
            elif clients:
                client = data.draw(st.sampled_from(clients))
                if action == "resume":
                    client.reconnect(data.draw(st.one_of(st.none(), st.integers(0, 3))))
                else:
                    client.read(data.draw(st.integers(1, 4)))
        on_board = {each.service: each.id for each in hub.board.view()}
        for client in clients:
            client.read(None)
            assert client.board == on_board
            assert hub.clients == len(clients)


class _Client:
    """A simulated page: its board is the result of its messages."""

    def __init__(self, hub: Hub, room: int | None) -> None:
        self.hub = hub
        self.board: dict[str, str] = {}
        self.last_id: Cursor | None = None
        self.has_board = False
        self._connect(room)

    def reconnect(self, room: int | None) -> None:
        self._process_messages()
        self.hub.detach(self.connection)
        self._connect(room)

    def read(self, room: int | None) -> None:
        self.sink.room = room
        self.hub.resume_writing(self.connection)
        self._process_messages()

    def _connect(self, room: int | None) -> None:
        self.sink = ListSink(room)
        self.connection = Connection(View(), self.sink)
        assert attach(self.hub, self.connection, self.last_id)

    def _process_messages(self) -> None:
        announced = not self.has_board
        for each in messages(self.sink.writes):
            if each.event in ("reset", "skipped"):
                announced = True
                continue
            assert each.id is not None
            cursor = Cursor.parse(each.id)
            if each.event == "board":
                assert announced or self.hub.blind, "a board that was not announced"
                announced = False
                self.board = {item["service"]: item["id"] for item in each.data["instances"]}
            elif each.event == "status":
                assert self.last_id is not None
                assert cursor > self.last_id, "a duplicate, or out of order"
                assert cursor.ms == each.data["status"]["n"]
                self.board[each.data["service"]] = each.id
            self.last_id, self.has_board = cursor, True
        self.sink.writes.clear()
