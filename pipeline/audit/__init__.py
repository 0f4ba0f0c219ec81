"""How exposed one given model is: the user's own head and the private images that trained it."""
