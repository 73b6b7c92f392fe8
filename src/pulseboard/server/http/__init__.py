"""Shared by the endpoints: parsing of requests, writing of responses, problem documents."""
