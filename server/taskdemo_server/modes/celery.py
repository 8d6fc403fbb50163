"""Mode `celery`: the endpoint publishes a task to a broker and answers; a Celery worker does it, maybe elsewhere."""

from taskdemo_server.contract.events import DEFAULT_MESSAGE
from taskdemo_server.modes.endpoint import Endpoint, Greeting, Message
from taskdemo_server.work import Work


def endpoint(work: Work) -> Endpoint:
    """Answer as soon as the broker has the task; it keeps it until a worker has done it."""
    # Celery takes a while to import, and only this mode needs it.
    from taskdemo_server.celery_publish import Publisher

    publisher = Publisher(work)

    async def hello(message: Message = DEFAULT_MESSAGE) -> Greeting:
        await publisher.delay(message, work.settings.work, work.settings.duration)
        return {"message": "Hello World!"}

    return Endpoint(
        hello,
        cannot_cancel="The broker could not be asked to revoke the task.",
        cancel=publisher.revoke,
        start=publisher.start,
        stop=publisher.stop,
        accepts=True,
    )
