"""SQLite for the web processes."""
