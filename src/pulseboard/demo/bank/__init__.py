"""A simulated core bank: `python -m pulseboard.demo.bank`.

`values` is what travels and all that a client imports; `ledger` is the world, a pure function of a seed and a step;
`weather` is what goes wrong on purpose; `app` is HTTP. Invariant: nothing is stored, so memory is bounded.
"""
