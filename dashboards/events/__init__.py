"""What runs of `task=event` show."""
