"""HTTP: the routes, the streams, the page, and the composition of a server process."""
