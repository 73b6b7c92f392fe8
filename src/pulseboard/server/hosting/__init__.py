"""Running the server: as an ASGI application, under uvicorn, with its sockets and signals."""
