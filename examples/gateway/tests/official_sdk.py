"""OpenAI's own client against a running gateway: `official_sdk.py BASE_URL KEY`."""

import sys
import urllib.request

import openai

BASE_URL, KEY = sys.argv[1:]
GREETING = 'Hello from the far end of the wire: ünïcödé, "quotes" and\nlines.'
TOOLS = [
    {"type": "function", "function": {"name": name, "parameters": {"type": "object", "properties": {}}}}
    for name in ("get_weather", "get_time")
]
# The client's own retries would hide what the gateway answers.
client = openai.OpenAI(base_url=BASE_URL, api_key=KEY, max_retries=0, timeout=20)


def ask(model, text, **more):
    return client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": text}], **more
    )


def complete(model):
    done = ask(model, "greet")
    assert done.choices[0].message.content == GREETING, done
    assert done.choices[0].finish_reason == "stop", done
    assert (done.usage.prompt_tokens, done.usage.total_tokens) == (11, 18), done.usage
    assert done.model == model and done.id.startswith("chatcmpl-") and done.created > 1_700_000_000, done


def stream(model):
    chunks = list(ask(model, "greet", stream=True, stream_options={"include_usage": True}))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == GREETING, text
    assert len(chunks) > 3, len(chunks)
    assert chunks[0].choices[0].delta.role == "assistant", chunks[0]
    assert chunks[-1].choices == [] and chunks[-1].usage.total_tokens == 18, chunks[-1]
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"


def tools(model):
    calls = ask(model, "weather", tools=TOOLS).choices[0].message.tool_calls
    whole = [(call.id, call.function.name, call.function.arguments) for call in calls]
    assert whole == [
        ("toolu_weather_1", "get_weather", '{"location":"Paris","days":3}'),
        ("toolu_time_1", "get_time", '{"zone":"CET"}'),
    ], whole
    # The client's own accumulator puts the pieces together.
    with client.chat.completions.stream(
        model=model, messages=[{"role": "user", "content": "weather"}], tools=TOOLS
    ) as events:
        done = events.get_final_completion()
    calls = done.choices[0].message.tool_calls
    assert [(call.id, call.function.name, call.function.arguments) for call in calls] == whole, calls
    assert done.choices[0].finish_reason == "tool_calls", done


def failure(kind, action):
    try:
        action()
    except kind as error:
        return error
    raise AssertionError(f"no {kind.__name__}")


def rate_limited():
    error = failure(openai.RateLimitError, lambda: ask("limited", "too fast"))
    seconds = int(error.response.headers["retry-after"])
    assert 7 <= seconds <= 9, seconds
    assert error.code == "rate_limit_exceeded" and error.type == "rate_limit_error", error.body


def bad_request():
    error = failure(openai.BadRequestError, lambda: ask("smart", "greet", temperature="hot"))
    assert error.param == "temperature", error.body


def unknown_model():
    error = failure(openai.NotFoundError, lambda: ask("nobody's", "greet"))
    assert error.code == "model_not_found", error.body


def unauthorized():
    stranger = client.with_options(api_key="key-of-nobody")
    error = failure(openai.AuthenticationError, stranger.models.list)
    assert error.code == "invalid_api_key", error.body


def broken_stream():
    def read():
        for _ in ask("smart", "cut", stream=True):
            pass

    error = failure(openai.APIError, read)
    assert "broke off" in error.message, error


def models():
    assert [model.id for model in client.models.list()] == ["claude", "limited", "smart"]


def metrics():
    with urllib.request.urlopen(BASE_URL.removesuffix("/v1") + "/metrics") as answer:
        text = answer.read().decode()
    calls = [line for line in text.splitlines() if line.startswith("llm_requests_total")]
    answered = [line for line in calls if 'outcome="success"' in line and '"smart"' in line]
    assert answered, calls
    assert 'endpoint="limited"' in text and "acme" not in text, text


for test, *models_asked in [
    (complete, "smart", "claude"),
    (stream, "smart", "claude"),
    (tools, "smart", "claude"),
    (rate_limited,),
    (bad_request,),
    (unknown_model,),
    (unauthorized,),
    (broken_stream,),
    (models,),
    (metrics,),
]:
    for model in models_asked:
        test(model)
    if not models_asked:
        test()
    print("ok", test.__name__)
