"""ollama: chat, whole and streamed. OLLAMA_HOST and OLLAMA_API_KEY say where."""

import ollama
from answering import SCHEMA, results, serve, turn

client = ollama.Client()


def collected(chunks):
    """What a stream says, in its last chunk."""
    text, thought, calls, last = "", "", [], None
    for last in chunks:
        text += last.message.content or ""
        thought += last.message.thinking or ""
        calls += last.message.tool_calls or ()
    if last is None or not last.done:
        raise EOFError("the stream has ended before it was done")
    last.message.content, last.message.thinking, last.message.tool_calls = text, thought or None, calls or None
    return last


def chat(job):
    asking = {"role": "user", "content": job["ask"]}
    if job["picture"]:
        asking["images"] = [job["picture"]]
    messages = [asking]
    tools = [{"type": "function", "function": {"name": name, "parameters": SCHEMA}} for name in job["tools"]]
    asked = {"model": job["model"], "messages": messages, "tools": tools or None}
    while True:
        reply = collected(client.chat(**asked, stream=True)) if job["stream"] else client.chat(**asked)
        called = reply.message.tool_calls or ()
        yield turn(
            text=reply.message.content or "",
            thought=reply.message.thinking or "",
            calls=[(each.function.name, dict(each.function.arguments)) for each in called],
            end=reply.done_reason,
            tokens=(reply.prompt_eval_count, reply.eval_count),
            model=reply.model,
        )
        if not called or job["results"] is None:
            return
        returned = results(job)
        messages.append(reply.message)
        messages += [{"role": "tool", "tool_name": each.function.name, "content": next(returned)} for each in called]


serve({"chat": chat})
