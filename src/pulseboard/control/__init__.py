"""Control: whether a command is sent, to which instances, and when it expires. No HTTP."""
