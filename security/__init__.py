"""Who is who: `keys.py` makes and reads the files of CURVE keys, `curve.py` is what an end was given of them, and `authorized.py` knows
whose keys a server lets in.
"""
