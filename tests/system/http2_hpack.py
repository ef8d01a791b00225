"""RFC 7541: header compression, as the one who unpacks. Rows for test_http2_rules.py; how to read them:
http2_cases.py. That what we pack is right is checked by the strict decoder of every test.

The dynamic table is empty at the beginning: its first entry has index 62, byte 0xbe where it is
named as a whole."""
from http2_cases import FINE_1, ROWS, Row, block, connection, sees, stream
from lib.h2 import COMPRESSION_ERROR, END_HEADERS, END_STREAM, HEADERS, PROTOCOL_ERROR, frame

BAD = connection(COMPRESSION_ERROR)
GET = b"\x82\x86\x84\x01\x06a.test" # takes no entry
NEWEST = b"\xbe"


def number(prefix_bits, flags, value):
    """Section 5.1."""
    most = (1 << prefix_bits) - 1
    if value < most:
        return bytes([flags | value])
    out, value = [flags | most], value - most
    while value >= 128:
        out.append(value % 128 + 128)
        value //= 128
    return bytes([*out, value])


def string(text):
    return number(7, 0, len(text)) + text


def added(name, value):
    """Section 6.2.1: into the table."""
    return b"\x40" + string(name) + string(value)


def size(n):
    """Section 6.3."""
    return number(5, 0x20, n)


# ---- 2.3.3, 5: what is no HPACK ----

BROKEN = {
    "2.3.3 index 0": b"\x80",
    "2.3.3 index 62 of an empty table": NEWEST,
    "2.3.3 an index beyond the tables": number(7, 0x80, 1000),
    "2.3.3 an index of 2^31": number(7, 0x80, 1 << 31),
    "2.3.3 a name's index beyond the tables": number(6, 0x40, 62) + string(b"a"),
    "2.3.3 the same, out of the tables": number(4, 0x00, 62) + string(b"a"),
    "2.3.3 the same, never to be in them": number(4, 0x10, 62) + string(b"a"),
    "5.1 an integer that does not end": b"\x0f" + b"\xff" * 10,
    "5.1 an integer of 2^32 and more": number(7, 0x80, 1 << 33),
    "5.1 an integer of 2^64 and more": number(7, 0x80, 1 << 70),
    "5.1 a small integer in too many bytes": b"\xff" + b"\x80" * 10 + b"\0",
    "5.1 a string's length of 2^32 and more": b"\x40" + number(7, 0, 1 << 33) + b"abc",
    "5.2 a string longer than the section": b"\x40\x7fabc",
    "5.2 a Huffman string longer than the section": b"\x40\xffabc",
    "5.2 Huffman padding of 8 bits": b"\x40\x01x\x82\xff\xff",
    "5.2 Huffman padding of 8 bits behind a character": b"\x40\x01x\x82\x1f\xff",
    "5.2 Huffman padding that is no EOS": b"\x40\x01x\x81\x00",
    "5.2 Huffman padding with a 0 at its end": b"\x40\x01x\x81\x1e",
    "5.2 EOS in a Huffman string": b"\x40\x01x\x84\xff\xff\xff\xff",
    "5.2 EOS in a Huffman name": b"\x40\x84\xff\xff\xff\xff\x01x",
    "6.1 cut off within an index": b"\xff",
    "6.2 cut off within a field": b"\x40\x05ab",
    "6.2 cut off behind a name": b"\x40\x02ab",
    "6.2 cut off behind a name's index": b"\x44",
    "6.3 cut off within a table size": b"\x3f",
    "4.2 a table size above what we allow": size(4097),
    "4.2 a table size of 2^32 and more": size(1 << 33),
    "4.2 a table size behind a field": b"\x82" + size(0),
    "4.2 a table size at the end": GET + size(100),
}
for text, broken in BROKEN.items():
    section, _, text = text.partition(" ")
    ROWS.append(Row(f"7541.{section}", text, BAD, lambda client, broken=broken: client.send(
        frame(HEADERS, END_HEADERS | END_STREAM, 1, broken))))

# ---- 5: strings ----

block("7541.5.2", "Huffman padding of 7 bits", sees(x="aaaaa"), GET + b"\x00\x01x\x84\x18\xc6\x31\xff")
block("7541.5.2", "an empty Huffman string", sees(x=""), GET + b"\x00\x01x\x80")
block("7541.5.1", "an integer with a byte more than it needs", FINE_1,
      GET[:3] + b"\x01" + b"\x06a.test" + b"\x00\x01x" + b"\x7f\x80\x00" + b"v" * 127)

# ---- 2.3, 4: the dynamic table ----

ADD_OLD, ADD_NEW = added(b"x-old", b"1"), added(b"x-new", b"2")
block("7541.2.3.2", "the newest entry comes first", sees(x_old="1", x_new="2"),
      GET + ADD_OLD, GET + ADD_NEW, GET + b"\xbf" + NEWEST)
block("7541.2.3.2", "entries within a section count at once", sees(x_old="1", x_new="2, 2"),
      GET + ADD_OLD + ADD_NEW + NEWEST)
block("7541.2.3.2", "the same entry twice", sees(x_new="2, 2"), GET + ADD_NEW + ADD_NEW, GET + NEWEST + b"\xbf")
block("7541.6.2.1", "a name from the table, another value", sees(x_old="3"),
      GET + ADD_OLD, GET + number(6, 0x40, 62) + string(b"3"))
block("7541.6.2.2", "a field that stays out of the table", BAD, GET + b"\0\1x\1v" + NEWEST)
block("7541.6.2.3", "a field that is never to be in it", BAD, GET + b"\x10\1x\1v" + NEWEST)
block("7541.6.2.3", "is passed on", sees(x="v"), GET + b"\x10\1x\1v")
block("7541.2.3", "a request that is refused has still filled the table", sees(x_old="1"),
      b"\x82" + ADD_OLD, GET + NEWEST)

V = b"v" * (4096 - 32 - 4) # with a name of 4 bytes: the whole table
block("7541.4.1", "an entry as large as the table", FINE_1, GET + added(b"full", V), GET + NEWEST)
block("7541.4.3", "there is no room beside it", BAD, GET + ADD_OLD + added(b"full", V) + b"\xbf")
block("7541.4.4", "an entry larger than the table empties it", BAD,
      GET + ADD_OLD + added(b"full", V + b"v") + NEWEST)
block("7541.4.4", "which is no error by itself", FINE_1, GET + ADD_OLD + added(b"full", V + b"v"))
block("7541.4.4", "the entry that gives the name is evicted by the one that takes it", sees(x_old="1"),
      GET + added(b"full", V), GET + number(6, 0x40, 62) + string(V[1:]) + ADD_OLD, GET + NEWEST)
block("7541.4.3", "the oldest entry goes first", sees(x_new="2"),
      GET + ADD_OLD + ADD_NEW + added(b"full", V[76 - 38:]), GET + b"\xbf")
block("7541.4.3", "and is not there any more", BAD,
      GET + ADD_OLD + ADD_NEW + added(b"full", V[76 - 38:]), GET + b"\xc0")

block("7541.4.2", "a table size at the beginning", FINE_1, size(100) + GET)
block("7541.4.2", "the largest table size", FINE_1, size(4096) + GET)
block("7541.4.2", "a smaller one, then a larger one", FINE_1, size(0) + size(4096) + GET)
# Two are enough for anybody; more are no error, and http2_floods.py says what they cost.
block("7541.4.2", "three in a row", FINE_1, size(0) + size(4096) + size(100) + GET)
block("7541.4.3", "a table of 0 bytes has no entries", BAD, GET + ADD_OLD, size(0) + GET + NEWEST)
block("7541.4.3", "also when it grows again", BAD, GET + ADD_OLD, size(0) + size(4096) + GET + NEWEST)
block("7541.4.3", "a table of 0 bytes takes none", BAD, size(0) + GET + ADD_OLD + NEWEST)
block("7541.4.3", "what does not fit is a field all the same", sees(x_old="1"), size(0) + GET + ADD_OLD)
block("7541.4.3", "a smaller table keeps what fits", sees(x_new="2"),
      GET + ADD_OLD + ADD_NEW, size(38) + GET + NEWEST)
block("7541.4.3", "and no more", BAD, GET + ADD_OLD + ADD_NEW, size(38) + GET + b"\xbf")
block("7541.4.3", "one byte less", BAD, GET + ADD_OLD + ADD_NEW, size(37) + GET + NEWEST)
block("7541.4.2", "a size and no field", stream(PROTOCOL_ERROR), size(100))

# ---- Appendix A: names of the static table, by their index ----

STATIC = {15: "accept-charset", 16: "accept-encoding", 17: "accept-language", 18: "accept-ranges",
          19: "accept", 21: "age", 24: "cache-control", 31: "content-type", 33: "date", 37: "from",
          39: "if-match", 46: "location", 51: "referer", 58: "user-agent", 60: "via",
          61: "www-authenticate"}
for index, name in STATIC.items():
    block("7541.A", f"index {index} is {name}", sees(**{name: "v"}),
          GET + number(4, 0, index) + string(b"v"))
