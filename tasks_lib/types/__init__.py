"""The task types of the platform, one file each. Drop a file in and the registry finds it."""
