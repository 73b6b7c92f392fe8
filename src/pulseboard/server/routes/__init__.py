"""Which path is answered by what. Each module has the routes of one purpose, around a core."""
