"""What a model looked at, for some windows of its data: a record beside the run, from which dashboards draw."""
