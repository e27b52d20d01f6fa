"""Changes of the model itself: what is put into it, and where."""
