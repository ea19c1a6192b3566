"""Association Matrix Factorisation (paper, Section 2.3): C ≈ max over modules of presence × module."""
