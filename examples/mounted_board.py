"""Mount the board in an application: run `uvicorn mounted_board:app`, open /ops/services."""

from starlette.applications import Starlette
from starlette.routing import Mount

from pulseboard.server import Pulseboard

app = Starlette(routes=[Mount("/ops", Pulseboard())])
