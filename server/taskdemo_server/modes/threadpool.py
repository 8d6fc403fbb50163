"""Mode `threadpool`: a plain `def` endpoint, which FastAPI runs in one of its worker threads."""

from taskdemo_server.contract.events import DEFAULT_MESSAGE
from taskdemo_server.modes.endpoint import Endpoint, Greeting, Message
from taskdemo_server.work import Work


def endpoint(work: Work) -> Endpoint:
    """Let the caller wait for a worker thread to be free and to do the work."""

    def hello(message: Message = DEFAULT_MESSAGE) -> Greeting:
        work.run(message)
        return {"message": "Hello World!"}

    return Endpoint(hello, cannot_cancel="The work runs in a thread, and a thread cannot be stopped from outside.")
