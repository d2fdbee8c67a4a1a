"""The API does what its description says, whatever it is sent: no 5xx and no undocumented answer, as any role."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.gateway import ADMIN_TOKEN, GatewayProcess
from tests.support.staffed import ROLES, key_of
from tests.support.staffed import staffed as staffed

SCHEMATHESIS = Path(sys.executable).parent / "schemathesis"
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
)
EXAMPLES = 6
"""For each operation and phase; a longer run: `EXAMPLES` times ten finds little more."""
TIMEOUT_S = 240


@pytest.mark.slow
@pytest.mark.timeout(TIMEOUT_S + 30)
@pytest.mark.parametrize("role", ["admin", *ROLES])
def test_no_answer_is_undocumented(staffed: GatewayProcess, tmp_path: Path, role: str) -> None:
    key = ADMIN_TOKEN if role == "admin" else key_of(role)
    # Every bound of every parameter, as those who get past the question of rights; the others by chance.
    phases = "examples,coverage,fuzzing" if role in ("admin", "owner", "member") else "examples,fuzzing"
    done = subprocess.run(
        [
            str(SCHEMATHESIS),
            "run",
            f"{staffed.base}/api/openapi.json",
            "--no-color",
            "--seed=7",
            f"--max-examples={EXAMPLES}",
            f"--phases={phases}",
            f"--checks={','.join(CHECKS)}",
            "--exclude-operation-id=listen",
            "--generation-database=none",
            "--request-timeout=30",
            f"--header=Authorization: Bearer {key}",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
