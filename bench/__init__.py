"""Measurements. Nothing here is asserted: figures depend on the machine, so they are quoted with it."""
