"""The demo: three background services and a simulated core bank, each its own process.

`pulseboard demo` runs it; nothing here is needed to use Pulseboard. Import the modules, not this
package: it is empty, so that a worker loads only the code that it runs.
"""
