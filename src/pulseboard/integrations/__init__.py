"""Bridges to other libraries: each is a module and needs the extra of its name."""
