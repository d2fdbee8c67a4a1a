"""Lets a failed comparison in the support modules show both sides."""

import pytest

from tests.support.hostile import hostile as hostile
from tests.support.hostile import hostile_process as hostile_process

pytest.register_assert_rewrite("tests.support.simulator_comparison")
