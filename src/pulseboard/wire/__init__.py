"""The values that travel: events, names, cursors, frames, states, errors. No I/O."""
