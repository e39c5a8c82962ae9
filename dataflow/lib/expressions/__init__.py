"""The Common Expression Language: reading an expression, running it, and the paths it mentions. Pure."""
