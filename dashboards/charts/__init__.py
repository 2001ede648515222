"""What a figure is, and how it is drawn on a sheet of paper: `chart` first."""
