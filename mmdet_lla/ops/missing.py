"""Placeholder for operators of mmcv that have no replacement."""

from collections.abc import Callable
from typing import Any, NoReturn

#: Builds mmcv's compiled operators; needs a C++ compiler and Python's headers.
BUILD_COMMAND = (
    'pip uninstall -y mmcv-lite && '
    'MMCV_WITH_OPS=1 pip install --no-build-isolation --no-binary mmcv mmcv==2.1.0'
)


def missing_operator(name: str) -> Callable[..., NoReturn]:
    """Return a function that raises NotImplementedError and says how to get the operator.

    Example:
        >>> try:
        ...     missing_operator('roi_pool_forward')()
        ... except NotImplementedError as error:
        ...     print(str(error).split(',')[0])
        roi_pool_forward
    """

    def missing(*args: Any, **kwargs: Any) -> NoReturn:
        raise NotImplementedError(
            f'{name}, an operator of mmcv, is missing: mmcv-lite has no compiled operators, and '
            'mmdet_lla replaces only those that its configs call. For all of them build mmcv '
            f'(6 to 8 minutes on two cores, with a C++ compiler): {BUILD_COMMAND}'
        )

    missing.__name__ = missing.__qualname__ = name
    return missing
