"""Thread count and instruction set are fixed before any test imports numpy or torch."""

import stages  # noqa: F401
