"""The board for the command line of an ASGI server: `uvicorn pulseboard.server.asgi:app`.

Its options come from the environment and `pulseboard.toml`.
"""

from pulseboard.server.hosting.asgi import Pulseboard

app = Pulseboard()
