"""One connection to an MQTT broker, in a thread of paho's: opened, kept open, told apart from those before it.

While the broker is away paho tries again, after 1, 2, 4 … 30 seconds. What no waiting mends (a wrong password, another
client of the same name) ends the stream.
"""

import sys
import time
from collections.abc import Callable, Sequence
from threading import Condition, Event
from typing import Any, Final, NamedTuple

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from forecast.errors import RunError

VERSIONS: Final = {"5": MQTTProtocolVersion.MQTTv5, "3.1.1": MQTTProtocolVersion.MQTTv311}
PAUSE_S: Final = 0.2
FOREVER: Final = 0xFFFFFFFF  # seconds: a session that does not expire
FARTHEST_S: Final = 30  # between two tries
TAKEN_OVER: Final = 142
SHORT_S: Final = 5  # a connection that ends before; after a few of them another client has taken the name
# Reasons of MQTT 5 (3.2.2.2 and 3.14.2.1) that another try does not change; paho gives those of 3.1.1 the same numbers.
FINAL: Final = {
    129: "malformed packet", 130: "protocol error", 132: "unsupported protocol version",
    133: "client identifier not valid", 134: "bad user name or password", 135: "not authorized", 138: "banned",
    140: "bad authentication method", TAKEN_OVER: "another client took its name",
}  # fmt: skip
ADVICE: Final = {
    132: "try feed.version=3.1.1", 133: "try another feed.client", 134: "look at feed.username and feed.password_env",
    135: "look at feed.username and the broker's access list", TAKEN_OVER: "give each stream its own feed.client",
}  # fmt: skip


class Login(NamedTuple):
    """How a broker is reached."""

    host: str
    port: int
    username: str | None
    password: str | None
    tls: bool
    version: str
    timeout_s: float


class Link:
    """A connection. keep: in a session that the broker keeps; most: messages that may come unacknowledged."""

    def __init__(self, login: Login, name: str, *, keep: bool = False, most: int | None = None) -> None:
        self.login, self.name, self.keep, self.most = login, name, keep, most
        self.place = f"the broker at {login.host}:{login.port}"
        self.news = Condition()
        self.turn = 0  # connections so far
        self.up = self.resumed = self.closing = False
        self.fault: tuple[str, str] | None = None  # what ends the stream, and what to do
        self.published = self.delivered = self.short = 0
        self.since = 0.0
        self.client: Client | None = None

    def open(
        self, topic: str | None = None, qos: int = 1, came: Callable[[MQTTMessage, int], None] | None = None
    ) -> None:
        """Connect and subscribe; nothing where that was done. RunError where there is no broker within timeout_s."""
        if self.client is not None:
            return
        self.topic, self.qos = topic, qos
        self.client = client = self._client(came)
        until = time.monotonic() + self.login.timeout_s
        self._connect(client, until)
        client.loop_start()
        with self.news:
            while not self.up and self.fault is None and time.monotonic() < until:
                self.news.wait(PAUSE_S)
        self.check()
        if not self.up:
            (other,) = VERSIONS.keys() - {self.login.version}
            raise RunError(
                f"{self.place} does not answer",
                f"expected MQTT {self.login.version} there",
                f"try feed.version={other}",
            )

    def _client(self, came: Callable[[MQTTMessage, int], None] | None) -> Client:
        login = self.login
        client = Client(
            CallbackAPIVersion.VERSION2, self.name, protocol=VERSIONS[login.version], manual_ack=True,
            clean_session=None if login.version == "5" else not self.keep,
        )  # fmt: skip
        if login.username is not None:
            client.username_pw_set(login.username, login.password)
        if login.tls:
            client.tls_set()  # the system's authorities, and those that SSL_CERT_FILE names
        client.reconnect_delay_set(1, FARTHEST_S)
        client.max_queued_messages_set(0)
        client.on_connect, client.on_disconnect = self._connected, self._disconnected
        client.on_subscribe, client.on_publish = self._subscribed, self._delivered
        if came is not None:
            client.on_message = lambda client, data, message: came(message, self.turn)
        return client

    def _connect(self, client: Client, until: float) -> None:
        """Try until it is there, or the time is over."""
        login, options = self.login, dict[str, Any]()
        if login.version == "5":
            wishes = Properties(PacketTypes.CONNECT)
            if self.keep:
                wishes.SessionExpiryInterval = FOREVER
            if self.most is not None:
                wishes.ReceiveMaximum = self.most
            options = {"clean_start": not self.keep, "properties": wishes}
        while True:
            try:
                client.connect(login.host, login.port, **options)
                return
            except (OSError, ValueError) as error:
                if time.monotonic() + PAUSE_S > until:
                    raise RunError(
                        f"{self.place} cannot be reached: {error}", f"expected it within {login.timeout_s:g} s",
                        "start it, or set feed.host and feed.port",
                    ) from error  # fmt: skip
            time.sleep(PAUSE_S)

    def check(self) -> None:
        """RunError where the connection has ended for good."""
        if self.fault is not None:
            raise RunError(f"{self.place} {self.fault[0]}", do=self.fault[1])

    def close(self) -> None:
        """After what was acknowledged or published has been written."""
        self.closing = True
        if self.client is not None:
            self.client.disconnect()
            self.client.loop_stop()

    # Messages ---------------------------------------------------------------------------------------------------

    def acknowledge(self, message: MQTTMessage, turn: int) -> None:
        """A message of an earlier connection is not: the broker sends it again, or has forgotten it."""
        assert self.client is not None
        if message.qos and turn == self.turn:
            self.client.ack(message.mid, message.qos)

    def comes_again(self, message: MQTTMessage, turn: int) -> bool:
        """Whether the broker will send it by this connection as well."""
        return bool(message.qos) and turn != self.turn and self.resumed

    def publish(self, topic: str, lines: Sequence[bytes], stop: Event) -> None:
        """All of them, acknowledged. RunError where they are refused, or `stop` is set while the broker is away."""
        assert self.client is not None
        for line in lines:
            self.client.publish(topic, line, qos=1)
        self.published += len(lines)
        with self.news:
            while self.delivered < self.published:
                self.check()
                if stop.is_set() and not self.up:
                    raise RunError(
                        f"{self.place} is away", f"{self.published - self.delivered:,} forecasts were not published",
                        "with state.path they are when the stream goes on",
                    )  # fmt: skip
                self.news.wait(PAUSE_S)
        self.check()

    # In paho's thread -------------------------------------------------------------------------------------------

    def _connected(
        self, client: Client, data: Any, flags: ConnectFlags, reason: ReasonCode, properties: Properties | None
    ) -> None:
        with self.news:
            if reason.is_failure:
                if reason.value in FINAL:
                    self._end(f"refused {self.name!r}: {FINAL[reason.value]}", ADVICE.get(reason.value, ""))
                return
            self.turn, self.up, self.resumed = self.turn + 1, True, flags.session_present
            self.since = time.monotonic()
            self.news.notify_all()
        if self.turn > 1:
            lost = self.keep and not self.resumed
            self._say("is back" + (", and has forgotten what it kept for us" if lost else ""))
        if self.topic is not None and (self.turn == 1 or not self.resumed):
            if self.login.version == "5":  # a message that the topic retains comes once
                wanted = SubscribeOptions(qos=self.qos, retainHandling=SubscribeOptions.RETAIN_SEND_IF_NEW_SUB)
                client.subscribe(self.topic, options=wanted)
            else:
                client.subscribe(self.topic, self.qos)

    def _disconnected(
        self, client: Client, data: Any, flags: DisconnectFlags, reason: ReasonCode, properties: Properties | None
    ) -> None:
        with self.news:
            was, self.up = self.up, False
            if reason.value in FINAL:
                self._end(f"sent {self.name!r} away: {FINAL[reason.value]}", ADVICE.get(reason.value, ""))
            elif was and not self.closing:
                self.short = self.short + 1 if time.monotonic() - self.since < SHORT_S else 0
                hint = f"; is another client named {self.name!r}?" if self.short > 2 else ""
                self._say(f"is away ({reason}); trying again{hint}")

    def _subscribed(
        self, client: Client, data: Any, mid: int, reasons: list[ReasonCode], properties: Properties | None
    ) -> None:
        if failed := [reason for reason in reasons if reason.is_failure]:
            with self.news:
                self._end(f"refused the topic {self.topic}: {failed[0]}", "look at its access list")

    def _delivered(
        self, client: Client, data: Any, mid: int, reason: ReasonCode, properties: Properties | None
    ) -> None:
        with self.news:
            self.delivered += 1
            if reason.is_failure:
                self._end(f"refused a forecast: {reason}", "look at its access list and limits")
            if self.delivered >= self.published or self.fault is not None:
                self.news.notify_all()

    def _end(self, why: str, do: str) -> None:
        self.fault = self.fault or (why, do)
        self.news.notify_all()

    def _say(self, what: str) -> None:
        sys.stderr.write(f"{self.place} {what}\n")
