"""Foundations that know nothing of workflows or executions: errors, ids, JSON values, cancellation, egress."""
