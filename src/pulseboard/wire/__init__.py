"""The values that travel: event kinds, names, cursors, frames, states, errors. No I/O."""
