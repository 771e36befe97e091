"""A judge behind an OpenAI-compatible server; its answers are kept, so none is asked for twice."""

import concurrent.futures
import dataclasses
import hashlib
import json
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sublax.errors import UserError
from sublax.evaluation.judges import (
    Judgement,
    Scale,
    from_probabilities,
    from_text,
    probability_of,
)
from sublax.files import write_whole

# What may be tried again beyond the client's own retries: answers that are no answers.
MALFORMED_TRIES = 3


@dataclasses.dataclass(frozen=True)
class ServerJudge:
    """A model on a server that speaks the chat completions of OpenAI's API (the extra `judge`).

    Probabilities of the first token are asked for and used where the server gives them; elsewhere
    what it wrote is read. Rate limits, time-outs and errors of the server are tried again with
    growing pauses by the `openai` client.

    Attributes:
        model: as the server calls it.
        cache: a folder; each answer is kept there under the hash of all that was asked.
        base_url: of the server; None is OpenAI's own, or OPENAI_BASE_URL.
        key: the environment variable that holds the key. The key itself is kept nowhere.
        concurrency: requests under way at a time.
        retries: of one request, by the client.
        timeout: seconds, of one request.
        told: called with 1 for every different prompt whose judgement is there.
    """

    model: str
    cache: Path
    base_url: str | None = None
    key: str = "OPENAI_API_KEY"
    concurrency: int = 8
    retries: int = 8
    timeout: float = 60.0
    told: Callable[[int], Any] = dataclasses.field(default=lambda count: None, compare=False)

    @property
    def name(self) -> str:
        """For the card."""
        return f"server:{self.base_url or 'openai'}:{self.model}"

    def __call__(self, prompts: Sequence[str], scale: Scale) -> list[Judgement]:
        """One judgement a prompt, in order.

        Raises:
            UserError: no key, no `openai`, or a server that does not answer as it should; what it
                has answered until then is kept.
        """
        client = None
        lock = threading.Lock()

        def one(prompt: str) -> Judgement:
            nonlocal client
            request = self._request(prompt)
            kept = self.cache / f"{_hash([self.base_url, request])}.json"
            answer = _read(kept)
            if answer is None:
                with lock:
                    client = client or self._client()
                answer = self._ask(client, request)
                write_whole(kept, [json.dumps(answer).encode()])
            self.told(1)
            return _judgement(answer, scale)

        with concurrent.futures.ThreadPoolExecutor(self.concurrency) as pool:
            waiting = {prompt: pool.submit(one, prompt) for prompt in dict.fromkeys(prompts)}
            try:
                return [waiting[prompt].result() for prompt in prompts]
            except BaseException:
                pool.shutdown(wait=True, cancel_futures=True)
                raise

    def _request(self, prompt: str) -> dict[str, Any]:
        return {
            "model": self.model,
            "messages": [{"role": "user", "content": prompt}],
            "temperature": 0.0,
            "max_tokens": 8,
            "logprobs": True,
            "top_logprobs": 20,
            "seed": 0,
        }

    def _client(self) -> Any:
        try:
            import openai
        except ImportError as error:
            raise UserError(
                f"judge {self.name}: the openai client is missing; pip install 'sublax[judge]'"
            ) from error
        key = os.environ.get(self.key)
        if not key:
            raise UserError(
                f"judge {self.name}: the environment variable {self.key} is not set; put the "
                "server's key there (any text, where the server asks for none)"
            )
        return openai.OpenAI(
            api_key=key, base_url=self.base_url, max_retries=self.retries, timeout=self.timeout
        )

    def _ask(self, client: Any, request: dict[str, Any]) -> dict[str, Any]:
        """The text and the first token's probabilities; tries again what is no answer at all."""
        import openai

        for attempt in range(MALFORMED_TRIES):
            try:
                return _answer(client.chat.completions.create(**request))
            except openai.APIStatusError as error:
                raise UserError(
                    f"judge {self.name}: the server says {error.status_code}: "
                    f"{_first_line(error)}; check the model's name, the key and the limits of the "
                    "account, then run the same command again: no answer is asked for twice"
                ) from error
            except openai.APIConnectionError as error:  # time-outs too
                raise UserError(
                    f"judge {self.name}: no answer from the server ({_first_line(error)}); check "
                    "that it is up, then run the same command again"
                ) from error
            except (ValueError, AttributeError, TypeError, LookupError, openai.APIError) as error:
                if attempt + 1 == MALFORMED_TRIES:
                    raise UserError(
                        f"judge {self.name}: the server's answer is no chat completion "
                        f"({_first_line(error)}); check --base-url"
                    ) from error
        raise AssertionError("unreachable")


def _answer(completion: Any) -> dict[str, Any]:
    choice = completion.choices[0]
    first = choice.logprobs.content[0] if choice.logprobs and choice.logprobs.content else None
    return {
        "text": choice.message.content or "",
        "cut": choice.finish_reason == "length",
        "tokens": len(choice.logprobs.content) if first else 0,
        "first": [[top.token, top.logprob] for top in first.top_logprobs] if first else [],
    }


def _judgement(answer: dict[str, Any], scale: Scale) -> Judgement:
    """By probabilities where the answer is one token; else by the text, unless it was cut."""
    first = {token: probability_of(logprob) for token, logprob in answer["first"]}
    # Numbers of several tokens have no probability of their own in the first token's list.
    if first and answer["tokens"] <= 2 and answer["text"].strip() in map(str.strip, first):
        return from_probabilities(first, scale)
    if answer["cut"]:
        return Judgement(None, None, 0.0)
    return from_text(answer["text"], scale)


def _read(path: Path) -> dict[str, Any] | None:
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).split("\n")[0][:200]
