"""Slow, plain restatements of the formulas of the LAVA paper (arXiv 2509.21149), the truth that the tests compare with.

Nothing in here imports the package under test. Every function follows the text of the paper term by term, with loops
where a loop is the easiest thing to check by eye.
"""

from __future__ import annotations
