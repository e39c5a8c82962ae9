"""The worker processes: they take jobs, run tries in threads, renew leases, and stop with grace."""
