"""The SDK: the code that runs inside users' services and publishes what they report."""
