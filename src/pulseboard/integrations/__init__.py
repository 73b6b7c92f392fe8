"""Bridges to what a host has already. Each stands in a module of its own, and needs the extra of that name."""
