"""What the gateway answers besides calls: its pages, in front of the engine. Whatever carries requests to it (an ASGI
server, the interceptor's virtual host, a client in the same program) hands them to one `Front`.
"""

from .front import Answers, Front, Page, page_of_json, said

__all__ = ["Answers", "Front", "Page", "page_of_json", "said"]
