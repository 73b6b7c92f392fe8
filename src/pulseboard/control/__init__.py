"""Control: which instances a command goes to, whether it may be sent, when it expires. No HTTP."""
