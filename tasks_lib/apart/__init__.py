"""What reads documents and images in a process of its own (``clients/apart.py`` starts it). Only what they need."""
