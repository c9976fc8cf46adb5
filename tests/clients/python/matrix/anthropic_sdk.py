"""anthropic: Messages, whole and by the helper that accumulates streams."""

import anthropic
from answering import SCHEMA, results, serve, turn

client = anthropic.Anthropic(max_retries=0)


def messages(job):
    content = [{"type": "text", "text": job["ask"]}]
    if job["picture"]:
        source = {"type": "base64", "media_type": "image/png", "data": job["picture"]}
        content.append({"type": "image", "source": source})
    said = [{"role": "user", "content": content if job["picture"] else job["ask"]}]
    tools = [{"name": name, "input_schema": SCHEMA} for name in job["tools"]]
    asked = {"model": job["model"], "max_tokens": 512, "messages": said}
    if tools:
        asked["tools"] = tools
    while True:
        if job["stream"]:
            with client.messages.stream(**asked) as events:
                reply = events.get_final_message()
        else:
            reply = client.messages.create(**asked)
        called = [block for block in reply.content if block.type == "tool_use"]
        usage = reply.usage
        given = usage.input_tokens + (usage.cache_read_input_tokens or 0) + (usage.cache_creation_input_tokens or 0)
        yield turn(
            text="".join(block.text for block in reply.content if block.type == "text"),
            thought="".join(block.thinking for block in reply.content if block.type == "thinking"),
            calls=[(each.name, each.input) for each in called],
            end=reply.stop_reason,
            tokens=(given, usage.output_tokens),
            model=reply.model,
        )
        if not called or job["results"] is None:
            return
        returned = results(job)
        answers = [{"type": "tool_result", "tool_use_id": each.id, "content": next(returned)} for each in called]
        said += [{"role": "assistant", "content": reply.content}, {"role": "user", "content": answers}]


serve({"messages": messages})
