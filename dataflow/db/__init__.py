"""Database backends of the web processes: Django's own, with less to do for each request."""
