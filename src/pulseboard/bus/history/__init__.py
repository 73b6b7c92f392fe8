"""What Redis keeps of the past: histories, incidents and the latest metrics."""
