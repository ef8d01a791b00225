"""Every row: what a client must not send or a server must understand, by section."""
import http2_frames
import http2_hpack
import http2_messages
from http2_cases import ROWS

FILES = (http2_frames, http2_messages, http2_hpack) # importing them writes the rows down
assert len(ROWS) > 400 and len({str(row) for row in ROWS}) == len(ROWS), "rows with the same name"
