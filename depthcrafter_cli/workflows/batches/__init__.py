"""Many videos: ``sources`` finds them, ``names`` says where results go, ``checks`` looks before
anything is computed, an engine carries out, ``queue`` gives it work and retries, ``report`` tells.
"""
