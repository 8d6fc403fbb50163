"""Mode `blocking`: an `async def` endpoint that calls slow, ordinary code. The classic mistake."""

from taskdemo_server.contract.events import DEFAULT_MESSAGE
from taskdemo_server.modes.endpoint import Endpoint, Greeting, Message
from taskdemo_server.work import Work


def endpoint(work: Work) -> Endpoint:
    """Hold the event loop until the work has ended; meanwhile nobody is served."""

    async def hello(message: Message = DEFAULT_MESSAGE) -> Greeting:
        work.run(message)
        return {"message": "Hello World!"}

    return Endpoint(
        hello, cannot_cancel="The work holds the event loop: while it runs, no other request is even looked at."
    )
