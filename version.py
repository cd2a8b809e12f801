"""The version, defined only here.

The package, the wire's hello and the built distribution read it.
"""

__version__ = "0.1.0"
