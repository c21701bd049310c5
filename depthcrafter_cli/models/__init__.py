"""The networks, the registry of weights, and finding, fetching, checking and loading them."""
