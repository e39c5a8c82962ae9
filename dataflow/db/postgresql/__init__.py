"""PostgreSQL for the web processes."""
