"""Who is who: `keys.py` makes and reads the files of CURVE keys, `authorized.py` knows whose keys a server lets in, and `zap.py` answers
libzmq, which asks at each handshake. What the keys mean for a socket of ours is in `curve.py`.
"""
