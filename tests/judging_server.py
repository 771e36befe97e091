"""A real HTTP server that answers chat completions, or fails to, as a test wants it."""

import contextlib
import http.server
import json
import math
import threading
import time


def completion(text, first=None, finish="stop", tokens=1):
    """The body of a chat completion; `first` are probabilities of the first token."""
    logprobs = None
    if first is not None:
        top = [{"token": t, "logprob": math.log(p), "bytes": None} for t, p in first.items()]
        content = [{"token": text, "logprob": 0.0, "bytes": None, "top_logprobs": top}] * tokens
        logprobs = {"content": content, "refusal": None}
    message = {"role": "assistant", "content": text, "refusal": None}
    choice = {"index": 0, "finish_reason": finish, "message": message, "logprobs": logprobs}
    body = {"id": "1", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice]}
    return 200, json.dumps(body).encode()


def error(status):
    return status, json.dumps({"error": {"message": f"told {status}"}}).encode()


@contextlib.contextmanager
def server(answer):
    """Serves `answer(prompt, how many requests came before)` -> (status, body, [seconds]).

    Yields:
        (its base URL, the prompts asked for in order of arrival).
    """
    asked, lock = [], threading.Lock()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            prompt = request["messages"][-1]["content"]
            with lock:
                before = len(asked)
                asked.append(prompt)
            status, body, *seconds = answer(prompt, before)
            time.sleep(sum(seconds))
            with contextlib.suppress(OSError):  # the client has given up
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.send_header("retry-after-ms", "1")
                self.end_headers()
                self.wfile.write(body)

        def log_message(self, *words):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{running.server_address[1]}/v1", asked
        finally:
            running.shutdown()
            thread.join()
