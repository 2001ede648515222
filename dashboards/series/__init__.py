"""What runs of series show: forecasts and errors."""
