"""Point markers: a point per cell, a rough foreground (Ud Din & Yu, Scientific Reports 2021)."""
