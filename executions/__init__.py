"""What did run: executions, their task runs, events, webhook deliveries and files."""
