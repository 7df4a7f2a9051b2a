"""Metrics of detection in crowds."""
