"""A simulated bank with an HTTP API: `python -m pulseboard.demo.bank`.

`values` has the types of the API; a client imports no other module. `ledger` computes customers and
accounts from a random seed and the number of the time step. `faults` injects failures. `app` is the
HTTP interface. Invariant: the bank stores no account, so its memory is bounded.
"""
