"""What starts executions without a person: schedules, and webhooks in."""
