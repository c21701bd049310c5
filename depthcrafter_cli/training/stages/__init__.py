"""What each stage trains, one file a network."""
