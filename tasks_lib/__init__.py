"""What a task can do: one class in one file per task type, found by the registry. No models, no Django."""
