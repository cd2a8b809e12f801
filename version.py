"""The one place that names the version: the package, the wire's hello and the built distribution read it here."""

__version__ = "0.1.0"
