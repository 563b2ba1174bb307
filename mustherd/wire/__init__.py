"""The herd on the wire: typed messages over ZeroMQ. Nothing outside this package knows a socket.

| channel | socket | promise |
| --- | --- | --- |
| pulse | ROUTER / DEALER | carries hello, heartbeats, reports; `mustherd.herd.link` makes it ordered and complete |
| log | ROUTER / DEALER | carries blocks of rows up and credit down; `mustherd.herd.flow` makes it complete |
| control | ROUTER / DEALER | may lose: decisions are numbered, expire and are sent again until acknowledged on pulse |
| coordinate | ROUTER / DEALER | an operator's request and its reply, with a time-out |

Messages are a closed set of structs with bounded fields (`mustherd.wire.messages`); what does not decode to one of
them is counted and dropped. Without keys both sides stay on loopback (`mustherd.wire.keys`); with them each key does
what its role allows (`mustherd.wire.gate`). A muster hears what is decided for it alone, since nobody subscribes to
anything: its sockets have a name that no other knows. Whoever only takes the shepherd's memory is cut off
(`mustherd.wire.inflow`).
"""
