"""Pictures and tables of detections and assignments."""
