"""The board for an ASGI server's command line: `uvicorn pulseboard.server.asgi:app`, with its options in the environment."""

from pulseboard.server.hosting.asgi import Pulseboard

app = Pulseboard()
