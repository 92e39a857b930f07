"""Label recovery: how many images of each class were behind an update."""
