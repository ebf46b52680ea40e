"""The exceptions of a transform lookup, all under TransformException."""

from __future__ import annotations


class TransformException(Exception):
    """A transform cannot be given."""


class LookupException(TransformException):
    """A frame was never heard of."""


class ConnectivityException(TransformException):
    """Both frames are known, and nothing connects them."""


class ExtrapolationException(TransformException):
    """The frames are connected, but not at the time asked for."""


class InvalidArgumentException(TransformException):
    """A frame name that cannot be one."""


class TimeoutException(TransformException):
    """The transform did not come in time."""
