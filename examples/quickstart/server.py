"""A stand-in for a model server: OpenAI-compatible, standard library only.

It really loads the weights it is given (config.json, tokenizer.json, model.safetensors) and walks through them token by token, but there is no language model behind it.
"""
import argparse
import json
import os
import struct
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

NAME = "quickstart"


class Weights:
    def __init__(self, directory):
        with open(os.path.join(directory, "tokenizer.json"), encoding="utf-8") as file:
            vocabulary = json.load(file)["model"]["vocab"]
        self.words = {number: word.rstrip("\u200b") for word, number in vocabulary.items()}
        with open(os.path.join(directory, "model.safetensors"), "rb") as file:
            size = struct.unpack("<Q", file.read(8))[0]
            self.header = json.loads(file.read(size))
            self.data = file.read()
        self.embeddings = self.matrix("model.embed_tokens.weight")
        self.head = self.matrix("lm_head.weight")

    def matrix(self, name):
        rows, columns = self.header[name]["shape"]
        begin, end = self.header[name]["data_offsets"]
        values = struct.unpack(f"<{rows * columns}f", self.data[begin:end])
        return [values[row * columns:(row + 1) * columns] for row in range(rows)]

    def next(self, token):
        hidden = self.embeddings[token]
        scores = [sum(a * b for a, b in zip(row, hidden)) for row in self.head]
        return max(range(len(scores)), key=scores.__getitem__)

    def answer(self, limit):
        token, words = 0, []
        for _ in range(limit):
            token = self.next(token)
            if self.words[token] == "<end>":
                return words, "stop"
            words.append(self.words[token])
        return words, "length"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    weights = None

    def reply(self, status, body):
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self):
        if self.path == "/health":
            self.reply(200, {})
        elif self.path == "/v1/models":
            self.reply(200, {"object": "list", "data": [{"id": NAME, "object": "model", "owned_by": "provision", "max_model_len": 2048}]})
        else:
            self.reply(404, {"error": {"message": "not found", "type": "NotFoundError", "code": 404}})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))))
        if self.path != "/v1/chat/completions":
            self.reply(404, {"error": {"message": "not found", "type": "NotFoundError", "code": 404}})
            return
        if body.get("model") != NAME:
            self.reply(404, {"error": {"message": f"The model `{body.get('model')}` does not exist.", "type": "NotFoundError", "code": 404}})
            return
        words, finish = self.weights.answer(int(body.get("max_tokens", 64)))
        self.reply(200, {
            "id": "chatcmpl-quickstart", "object": "chat.completion", "created": int(time.time()), "model": NAME,
            "choices": [{"index": 0, "message": {"role": "assistant", "content": " ".join(words)}, "finish_reason": finish}],
            "usage": {"prompt_tokens": 1, "completion_tokens": len(words), "total_tokens": 1 + len(words)},
        })


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    options = parser.parse_args()
    Handler.weights = Weights(options.model)
    print(f"stand-in server: weights of {options.model} loaded, listening on {options.host}:{options.port}", flush=True)
    ThreadingHTTPServer((options.host, options.port), Handler).serve_forever()


if __name__ == "__main__":
    main()
