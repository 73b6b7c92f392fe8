"""Running the server: as an ASGI application, under uvicorn, sockets and signals."""
