"""The networks, the registry of weights, and finding, fetching, checking and loading them."""

import logging

# Diffusers imports it wherever it is installed, and it warns of 4-bit products, which are not used.
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
