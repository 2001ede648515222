"""What runs of `task=classify` show."""
