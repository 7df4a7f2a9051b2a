"""Analyses of detections and assignments: errors, protocols, NMS, and drawings."""
