"""The endpoints of the HTTP API, one module each: routes, handlers and response shapes.

Each module has a function `routes` that gets the parts that its handlers need.
"""
