"""What should run: workflows and their frozen versions."""
