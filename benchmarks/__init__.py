"""Questions about speed, each a program that prints its question, its method and its figures."""
