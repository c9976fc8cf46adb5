"""cohere: chat of the second version, whole and streamed."""

import json

import cohere
from answering import SCHEMA, results, serve, turn

client = cohere.ClientV2()


def collected(events):
    """What a chat_stream says, as chat would have: (content by place, plan, calls by place, reason, usage)."""
    content, plan, calls, end, usage = {}, "", {}, None, None
    for event in events:
        message = getattr(getattr(event, "delta", None), "message", None)
        if event.type in ("content-start", "content-delta"):
            kind, said = content.setdefault(event.index, ["text", ""])
            kind = getattr(message.content, "type", None) or kind
            text = getattr(message.content, "text", None) or getattr(message.content, "thinking", None) or ""
            content[event.index] = [kind, said + text]
        elif event.type == "tool-plan-delta":
            plan += message.tool_plan
        elif event.type == "tool-call-start":
            calls[event.index] = {
                "id": message.tool_calls.id,
                "type": "function",
                "function": {
                    "name": message.tool_calls.function.name,
                    "arguments": message.tool_calls.function.arguments or "",
                },
            }
        elif event.type == "tool-call-delta":
            calls[event.index]["function"]["arguments"] += message.tool_calls.function.arguments
        elif event.type == "tool-call-end":
            called = calls[event.index]["function"]
            called["arguments"] = called["arguments"] or "{}"
        elif event.type == "message-end":
            end, usage = event.delta.finish_reason, event.delta.usage
    return [content[place] for place in sorted(content)], plan, [calls[place] for place in sorted(calls)], end, usage


def given(reply):
    message = reply.message
    content = [
        [part.type, part.text if part.type == "text" else part.thinking] for part in message.content or () if part.type
    ]
    calls = [
        {
            "id": call.id,
            "type": "function",
            "function": {"name": call.function.name, "arguments": call.function.arguments or ""},
        }
        for call in message.tool_calls or ()
    ]
    return content, message.tool_plan or "", calls, reply.finish_reason, reply.usage


def chat(job):
    content = [{"type": "text", "text": job["ask"]}]
    if job["picture"]:
        url = f"data:image/png;base64,{job['picture']}"
        content.append({"type": "image_url", "image_url": {"url": url}})
    messages = [{"role": "user", "content": content if job["picture"] else job["ask"]}]
    asked = {"model": job["model"], "messages": messages, "request_options": {"max_retries": 0}}
    if job["tools"]:
        asked["tools"] = [{"type": "function", "function": {"name": n, "parameters": SCHEMA}} for n in job["tools"]]
    while True:
        reply = None if job["stream"] else client.chat(**asked)
        told = collected(client.chat_stream(**asked)) if reply is None else given(reply)
        content, plan, called, end, tokens = *told[:4], told[4].tokens
        yield turn(
            text=plan + "".join(text for kind, text in content if kind == "text"),
            thought="".join(text for kind, text in content if kind == "thinking"),
            calls=[(each["function"]["name"], json.loads(each["function"]["arguments"] or "{}")) for each in called],
            end=end,
            tokens=(int(tokens.input_tokens) + int(getattr(tokens, "image_tokens", 0)), int(tokens.output_tokens)),
        )
        if not called or job["results"] is None:
            return
        returned = results(job)
        messages.append(reply.message if reply is not None else answered(content, plan, called))
        messages += [{"role": "tool", "tool_call_id": each["id"], "content": next(returned)} for each in called]


def answered(content, plan, called):
    """A message from the pieces of a stream."""
    message = {"role": "assistant", "tool_calls": called}
    if plan:
        message["tool_plan"] = plan
    if content:
        message["content"] = [{"type": kind, kind: text} for kind, text in content]
    return message


serve({"chat": chat})
