"""Videos and pictures in, depth files out, and the spool between. No networks."""
