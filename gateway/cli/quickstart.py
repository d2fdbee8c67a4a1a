"""The configuration that `tollgate up` starts with, written once and then the user's own."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gateway.identity.keys import digest_of, generate_key


@dataclass(frozen=True, slots=True)
class QuickstartFiles:
    config: Path
    limits: Path
    pricing: Path
    key: Path


CONFIG = """\
# Written by `tollgate up`, and yours from then on. Where Redis, Postgres and the simulated provider are, it writes
# into tollgate.env at every start.
# To use a real provider, replace its line, e.g.:
#   openai: {kind: openai, base_url: "https://api.openai.com", api_key: "${OPENAI_API_KEY}"}
admin_token: ${TOLLGATE_ADMIN_TOKEN}
encryption: {active: k1, keys: {k1: "${TOLLGATE_ENCRYPTION_KEY}"}}   # of personal fields; kept in encryption_key
providers:
  openai:    {kind: openai,    base_url: "${SIMULATED_PROVIDER}", api_key: simulated}
  anthropic: {kind: anthropic, base_url: "${SIMULATED_PROVIDER}", api_key: simulated}
  gemini:    {kind: gemini,    base_url: "${SIMULATED_PROVIDER}", api_key: simulated}
pricing: pricing.yaml
limits: limits.yaml
"""

LIMITS = """\
# Who may spend how much. Changes are in force within two seconds.
credit_usd: 0.01                     # what one credit is worth
orgs:
  - id: demo
    time_zone: UTC
    limits: [{{window: month, credits: 50000}}]
    teams:
      - id: research
        limits: [{{window: day, credits: 5000, grace: {{percent: 5, minutes: 60}}}}]
        users:
          - id: ada
            role: owner                  # of the organisation; others: billing, auditor, lead (of this team), member
            limits: [{{window: week, credits: 2000}}]
            keys:
              # `access: role`: with this key the API lets ada do what an owner may; without, see her own usage.
              - {{id: ada-laptop, access: role, sha256: "{digest}"}}
"""

PRICING = """\
# Prices over the bundled catalogue. Changes are in force within two seconds.
models:
  - {provider: "*", model: "sim-*", from: 2026-01-01, usd_per_mtok: {input: 3, cache_read: 0.3, output: 12}}
  # Models that are billed by the image are in no catalogue: quality and size decide.
  - provider: openai
    model: dall-e-3
    usd_per:
      image standard 1024x1024: 0.04
      image standard 1024x1792: 0.08
      image standard 1792x1024: 0.08
      image hd 1024x1024: 0.08
      image hd 1024x1792: 0.12
      image hd 1792x1024: 0.12
  - {provider: openai, model: dall-e-2, usd_per: {image 256x256: 0.016, image 512x512: 0.018, image 1024x1024: 0.02}}
"""


def write(data: Path, environment: Mapping[str, str]) -> QuickstartFiles:
    """Write what is not there yet under ``data``, and ``environment`` in any case: so that other commands, given
    the configuration written here, find the stores of the running gateway."""
    files = QuickstartFiles(
        data / "tollgate.yaml", data / "limits.yaml", data / "pricing.yaml", data / "demo_key"
    )
    if not files.key.exists():
        write_secret(files.key, generate_key())
    variables = files.config.with_suffix(".env")
    variables.unlink(missing_ok=True)
    write_secret(variables, "\n".join(f"{name}={value}" for name, value in environment.items()))
    key = files.key.read_text().strip()
    for path, text in (
        (files.config, CONFIG),
        (files.limits, LIMITS.format(digest=digest_of(key))),
        (files.pricing, PRICING),
    ):
        if not path.exists():
            path.write_text(text)
    return files


def write_secret(path: Path, text: str) -> None:
    """Only the owner may read it, from the first byte on."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text + "\n")


def welcome(port: int, files: QuickstartFiles, token_file: Path) -> str:
    """What `tollgate up` says when it is ready."""
    base = f"http://127.0.0.1:{port}"
    key = files.key.read_text().strip()
    return f"""
Tollgate is ready at {base}

  Point an SDK at it     OpenAI: {base}/v1    Anthropic, Gemini: {base}
  Demo key               {key}
  Admin token            in {token_file}
  Limits and prices      {files.limits}, {files.pricing} (changes count within two seconds)
  Providers              simulated, and free; real ones: {files.config}

Try it:

  curl {base}/v1/chat/completions -H "Authorization: Bearer {key}" -H "Content-Type: application/json" \\
    -d '{{"model": "gpt-4o-mini", "messages": [{{"role": "user", "content": "Hello"}}]}}' -i

What did it cost? The API is described at {base}/api/openapi.json and in docs/api.md:

  curl {base}/api/credits/balance -H "Authorization: Bearer {key}"
  curl -N {base}/api/credits/live -H "Authorization: Bearer {key}"

Ctrl-C stops everything; data stays in {files.config.parent}.
"""
