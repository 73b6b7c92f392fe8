"""Three real background services and the simulated core bank they work against, each its own process.

Nothing here is needed to use Pulseboard: it is what `pulseboard demo` shows. Import the modules, not this package; it
stays empty so that a worker loads only what it runs.
"""
