"""Where a film is cut: shots, how they are found, and the lists of cuts that people exchange."""
