"""The two SSE streams, and the HTTP protocol that lets them write to the socket."""
