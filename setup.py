"""Only what pyproject.toml cannot say: the C extension, described in gateway/_runtime_build.py."""

from setuptools import setup

setup(cffi_modules=["gateway/_runtime_build.py:ffibuilder"])
