/* wire/websocket.h: the answer to a WebSocket handshake: RFC 6455 section 4.2.2. */
#pragma once

#include "base/str.h"

enum { WEBSOCKET_ACCEPT_BYTES = 28 };

/* The Sec-WebSocket-Accept that belongs to a Sec-WebSocket-Key, whatever that holds. */
void websocket_accept(struct str key, char ret[WEBSOCKET_ACCEPT_BYTES]);
