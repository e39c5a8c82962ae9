"""What is run by hand while developing, and by nothing else."""
