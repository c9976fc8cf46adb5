"""openai: Chat Completions and Responses, whole and by the helpers that accumulate streams."""

import json

import openai
from answering import SCHEMA, results, serve, turn

client = openai.OpenAI(max_retries=0)


def chat(job):
    content = [{"type": "text", "text": job["ask"]}]
    if job["picture"]:
        url = f"data:image/png;base64,{job['picture']}"
        content.append({"type": "image_url", "image_url": {"url": url}})
    messages = [{"role": "user", "content": content if job["picture"] else job["ask"]}]
    tools = [{"type": "function", "function": {"name": name, "parameters": SCHEMA}} for name in job["tools"]]
    asked = {"model": job["model"], "messages": messages, "tools": tools or openai.omit}
    while True:
        if job["stream"]:
            with client.chat.completions.stream(**asked, stream_options={"include_usage": True}) as events:
                reply = events.until_done().get_final_completion()
        else:
            reply = client.chat.completions.create(**asked)
        message = reply.choices[0].message
        called = message.tool_calls or []
        yield turn(
            text=message.content or "",
            thought=getattr(message, "reasoning_content", None) or "",
            calls=[(each.function.name, json.loads(each.function.arguments)) for each in called],
            end=reply.choices[0].finish_reason,
            tokens=(reply.usage.prompt_tokens, reply.usage.completion_tokens),
            model=reply.model,
        )
        if not called or job["results"] is None:
            return
        returned = results(job)
        messages.append(message.model_dump(exclude_none=True, exclude={"parsed": True}))
        messages += [{"role": "tool", "tool_call_id": each.id, "content": next(returned)} for each in called]


def responses(job):
    content = [{"type": "input_text", "text": job["ask"]}]
    if job["picture"]:
        url = f"data:image/png;base64,{job['picture']}"
        content.append({"type": "input_image", "image_url": url, "detail": "auto"})
    items = [{"role": "user", "content": content if job["picture"] else job["ask"]}]
    tools = [{"type": "function", "name": name, "parameters": SCHEMA, "strict": False} for name in job["tools"]]
    asked = {"model": job["model"], "input": items, "tools": tools or openai.omit, "store": False}
    asked["include"] = ["reasoning.encrypted_content"]
    while True:
        if job["stream"]:
            with client.responses.stream(**asked) as events:
                reply = events.until_done().get_final_response()
        else:
            reply = client.responses.create(**asked)
        called = [item for item in reply.output if item.type == "function_call"]
        thoughts = [item for item in reply.output if item.type == "reasoning"]
        shown = [part.text for item in thoughts for part in [*item.summary, *(item.content or ())]]
        yield turn(
            text=reply.output_text,
            thought="".join(shown),
            calls=[(each.name, json.loads(each.arguments)) for each in called],
            end=reply.status,
            tokens=(reply.usage.input_tokens, reply.usage.output_tokens),
            model=reply.model,
        )
        if not called or job["results"] is None:
            return
        returned = results(job)
        items += [item.model_dump(exclude_none=True, exclude={"parsed_arguments": True}) for item in reply.output]
        items += [
            {"type": "function_call_output", "call_id": each.call_id, "output": next(returned)} for each in called
        ]


serve({"chat": chat, "responses": responses})
