"""How a worker takes a message from Redis: in one step, so that a worker killed in between loses nothing.

kombu takes a message from its list and then, with a second command, notes who has it; what a worker holds when it is
killed between the two is gone. In the soak of this repository that were 3 tasks of 10,000, at 36 kills. Here the first
step moves the message to a second list, from which the second one removes it; what stays there is given back.
Knows kombu's Redis transport from the inside, and is used by our own workers alone.
"""

import time
from queue import Empty
from typing import Any, Final

from kombu.transport import redis
from kombu.transport.virtual.base import QoS as VirtualQoS
from kombu.utils.encoding import bytes_to_str
from kombu.utils.json import dumps, loads

_GIVE_BACK_AFTER_S: Final = 5.0
"""A message is in the second list for a millisecond; this long, and whoever moved it there is dead."""
_GIVE_BACK: Final = """
if redis.call('LREM', KEYS[1], 1, ARGV[1]) == 1 then redis.call('RPUSH', KEYS[2], ARGV[1]) end
"""


def taken(queue: str) -> str:
    """Return the key of the list of messages that a worker is just taking from `queue`."""
    return f"{queue}.taken"


class QoS(redis.QoS):  # type: ignore[misc]  # kombu comes without types
    """Notes what is taken together with its removal from the second list."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._seen: dict[bytes, float] = {}

    def append(self, message: Any, delivery_tag: str) -> None:
        """Note a message as taken and not yet acknowledged."""
        info, taking = message.delivery_info, self.channel.taking
        note = dumps([message._raw, info["exchange"], info["routing_key"]])  # noqa: SLF001  as kombu does
        with self.pipe_or_acquire() as pipe:
            pipe.zadd(self.unacked_index_key, {delivery_tag: time.time()}).hset(self.unacked_key, delivery_tag, note)
            if taking is not None:
                queue, item = taking
                pipe.lrem(taken(queue), 1, item)
            pipe.execute()
        VirtualQoS.append(self, message, delivery_tag)

    def restore_visible(self, *args: Any, **kwargs: Any) -> None:
        """Give back what is overdue, and what a dead worker was just taking."""
        super().restore_visible(*args, **kwargs)
        now, seen = time.monotonic(), self._seen
        self._seen = {}
        with self.channel.conn_or_acquire() as client:
            for queue in self.channel.active_queues:
                for item in client.lrange(taken(queue), 0, -1):
                    since = self._seen[item] = seen.get(item, now)
                    if now - since > _GIVE_BACK_AFTER_S:
                        client.eval(_GIVE_BACK, 2, taken(queue), queue, item)


class Channel(redis.Channel):  # type: ignore[misc]  # as above
    """Moves a message where kombu would pop it."""

    QoS = QoS
    priority_steps = [0]  # noqa: RUF012  kombu's name; one list a queue, because only from one can be moved
    taking: tuple[str, bytes] | None = None
    """The queue and the message that is being taken."""

    def _brpop_start(self, timeout: float | None = None) -> None:
        queues = self._queue_cycle.consume(1)
        if queues:
            [self._from] = queues
            self._in_poll = self.client.connection
            self._brpop_sent_at = time.monotonic()
            wait = self.brpop_timeout if timeout is None else timeout
            self.client.connection.send_command("BLMOVE", self._from, taken(self._from), "RIGHT", "LEFT", wait or 0)

    def _brpop_read(self, **options: Any) -> bool:
        try:
            try:
                item = self.client.parse_response(self.client.connection, "BLMOVE", **options)
            except self.connection_errors:
                self.client.connection.disconnect()  # and it is connected anew
                raise
            if not item:
                raise Empty
            self._queue_cycle.rotate(self._from)
            self.taking = self._from, item
            self.connection._deliver(loads(bytes_to_str(item)), self._from)  # noqa: SLF001  as kombu does
            return True
        finally:
            self.taking = None
            self._in_poll = None
            self._flush_brpop_reauth()


def take_in_one_step() -> None:
    """From here on, have this process take messages so. kombu has no setting for it."""
    redis.Transport.Channel = Channel
