"""Lets a failed comparison in the support modules show both sides."""

import pytest

pytest.register_assert_rewrite("tests.support.simulator_comparison")
