"""mistralai: chat, whole and streamed."""

import json
import os

from answering import SCHEMA, results, serve, turn
from mistralai.client import Mistral

client = Mistral(api_key=os.environ["MISTRAL_API_KEY"])


def said(content):
    """The texts and the thoughts of a message's content: a text, or chunks."""
    if isinstance(content, str):
        return content, ""
    text = thought = ""
    for chunk in content or ():
        if chunk.type == "thinking":
            thought += "".join(each.text for each in chunk.thinking if each.type == "text")
        elif chunk.type == "text":
            text += chunk.text
    return text, thought


def collected(events):
    """What a stream says: (text, thought, calls, reason, usage, model)."""
    text, thought, calls, end, usage, model = "", "", {}, None, None, None
    for event in events:
        chunk = event.data
        usage, model = chunk.usage or usage, chunk.model
        for choice in chunk.choices:
            more = said(choice.delta.content)
            text, thought = text + more[0], thought + more[1]
            for place, call in enumerate(choice.delta.tool_calls or ()):
                made = calls.setdefault(
                    (call.index or place),
                    {"id": call.id, "type": "function", "function": {"name": "", "arguments": ""}},
                )
                made["function"]["name"] += call.function.name or ""
                made["function"]["arguments"] += plain(call.function.arguments)
            end = choice.finish_reason or end
    return text, thought, [calls[place] for place in sorted(calls)], end, usage, model


def plain(arguments):
    """The SDK's types take an object, too."""
    return arguments if isinstance(arguments, str) else json.dumps(arguments)


def given(reply):
    choice = reply.choices[0]
    text, thought = said(choice.message.content)
    calls = [
        {
            "id": call.id,
            "type": "function",
            "function": {"name": call.function.name, "arguments": plain(call.function.arguments)},
        }
        for call in choice.message.tool_calls or ()
    ]
    return text, thought, calls, choice.finish_reason, reply.usage, reply.model


def chat(job):
    content = [{"type": "text", "text": job["ask"]}]
    if job["picture"]:
        content.append({"type": "image_url", "image_url": f"data:image/png;base64,{job['picture']}"})
    messages = [{"role": "user", "content": content if job["picture"] else job["ask"]}]
    asked = {"model": job["model"], "messages": messages}
    if job["tools"]:
        asked["tools"] = [{"type": "function", "function": {"name": n, "parameters": SCHEMA}} for n in job["tools"]]
    while True:
        reply = None if job["stream"] else client.chat.complete(**asked)
        told = collected(client.chat.stream(**asked)) if reply is None else given(reply)
        text, thought, called, end, usage, model = told
        yield turn(
            text=text,
            thought=thought,
            calls=[(each["function"]["name"], json.loads(each["function"]["arguments"] or "{}")) for each in called],
            end=end,
            tokens=(usage.prompt_tokens, usage.completion_tokens),
            model=model,
        )
        if not called or job["results"] is None:
            return
        returned = results(job)
        whole = {"role": "assistant", "content": text, "tool_calls": called}
        messages.append(whole if reply is None else reply.choices[0].message)
        messages += [
            {
                "role": "tool",
                "tool_call_id": each["id"],
                "name": each["function"]["name"],
                "content": next(returned),
            }
            for each in called
        ]


serve({"chat": chat})
