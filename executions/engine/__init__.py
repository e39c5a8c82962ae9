"""Pure decisions: what an execution does next. No Django, no clock, no I/O."""
