"""Real servers on loopback for tests: plain threads, context managers, also runnable as processes of their own."""
