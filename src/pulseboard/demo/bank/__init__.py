"""A simulated core bank: `python -m pulseboard.demo.bank`.

`values` has the shapes of the API and is all that a client imports; `ledger` computes customers and
accounts from a seed and a step; `faults` injects failures; `app` is the HTTP interface. Invariant:
the bank stores nothing, so its memory is bounded.
"""
