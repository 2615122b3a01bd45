"""Only what pyproject.toml cannot say: the C extensions, most of it described in gateway/_runtime_build.py."""

from setuptools import Extension, setup

setup(
    cffi_modules=["gateway/_runtime_build.py:ffibuilder"],
    ext_modules=[
        Extension(
            "gateway._runtime_call",
            sources=["gateway/_runtime_call.c"],
            include_dirs=["runtime_c/include"],
            depends=["runtime_c/include/wr.h"],
            extra_compile_args=["-std=c11", "-O2", "-g1", "-fvisibility=hidden"],
        )
    ],
)
