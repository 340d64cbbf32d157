"""`llm`, the command line tool, as an extra OpenAI model."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from checks import BASE_URL, FILE, KEY, MODEL, QUESTION, SCHEMA, SIZE, URL, check, refused, tell

folder = Path(tempfile.mkdtemp())
(folder / "extra-openai-models.yaml").write_text(
    f"""
- model_id: visionq
  model_name: {MODEL}
  api_base: {BASE_URL}
  api_key_name: visionq
  vision: true
  supports_schema: true
  supports_tools: true
- model_id: unknown
  model_name: no-such-model
  api_base: {BASE_URL}
  api_key_name: visionq
  vision: true
"""
)
(folder / "keys.json").write_text(json.dumps({"visionq": KEY}))


def run(*words: str) -> str:
    done = subprocess.run(
        [str(Path(sys.executable).with_name("llm")), *words],
        env={**os.environ, "LLM_USER_PATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    return done.stdout


@check("default, streamed, picture from a file")
def _() -> bool:
    return SIZE in run("-m", "visionq", QUESTION, "-a", FILE)


@check("picture by address")
def _() -> bool:
    return SIZE in run("-m", "visionq", QUESTION, "-a", URL)


@check("--no-stream")
def _() -> bool:
    return SIZE in run("-m", "visionq", "--no-stream", QUESTION, "-a", FILE)


@check("--schema")
def _() -> bool:
    told = run("-m", "visionq", "--schema", json.dumps(SCHEMA), QUESTION, "-a", FILE)
    return SIZE in json.loads(told)["description"]


@check("system prompt, options, usage")
def _() -> bool:
    words = ("-s", "Be brief.", "-o", "temperature", "0", "-o", "max_tokens", "200", "-u")
    return SIZE in run("-m", "visionq", *words, QUESTION, "-a", FILE)


@check("-o json_object")
def _() -> bool:
    told = run("-m", "visionq", "-o", "json_object", "1", f"{QUESTION} As JSON.", "-a", FILE)
    return bool(json.loads(told))


@check("extract and log")
def _() -> bool:
    return "visionq" in run("logs", "-n", "1")


@refused("text alone", "no picture")
def _() -> None:
    run("-m", "visionq", QUESTION)


@refused("conversation", "not supported")
def _() -> None:
    run("-m", "visionq", QUESTION, "-a", FILE)
    run("-c", "And now?")


@refused("unknown model", "no-such-model")
def _() -> None:
    run("-m", "unknown", QUESTION, "-a", FILE)


@refused("wrong key", "key")
def _() -> None:
    run("-m", "visionq", "--key", "wrong", QUESTION, "-a", FILE)


@refused("tool of llm", "not supported")
def _() -> None:
    run("-m", "visionq", "-T", "llm_time", "-T", "llm_version", QUESTION, "-a", FILE)


tell("llm", "openai")
