"""Encodes the whole board as the first message of a stream."""

import msgspec

from pulseboard.hub.board import Board
from pulseboard.hub.frames import board_bytes, snapshot_bytes
from pulseboard.hub.options import HubOptions
from pulseboard.hub.view import View
from pulseboard.wire.cursor import Cursor
from pulseboard.wire.views import BoardView, Freshness


def encode_board(
    view: View, board: Board, freshness: Freshness, options: HubOptions, now: int, cursor: Cursor
) -> bytes:
    """Return the board for a view, as it is at `cursor`; `now` is ms by Redis' clock."""
    if view.status_stream:
        return snapshot_bytes(board.snapshot(), cursor)

    def is_selected(service: str) -> bool:
        return view.services is None or service in view.services

    data = BoardView(
        **msgspec.structs.asdict(freshness),
        now=now,
        omitted=board.omitted(now),
        ping_s=options.ping_s,
        version=options.version,
        insecure=options.insecure,
        expect=[name for name in board.expected if is_selected(name)],
        instances=board.view(view.services),
        incidents=[incident for incident in board.incidents if is_selected(incident.service)],
    )
    return board_bytes(data, cursor)
