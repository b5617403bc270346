"""Small worlds of shapes whose every question has a known answer."""
