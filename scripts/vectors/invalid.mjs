// What a client must not send. `after` says how far the connection is: "open" is before a Hello,
// "hello" after it was answered with Welcome (`hex` does not contain it). `transport` is "stream",
// or "websocket", where `hex` is one binary message. `ends` means that the client then
// ends its side. The limits are a server's defaults.
import { Buffer } from "node:buffer";
import { bytesField, encode, entryField, frame, key, numberField } from "./encoder.mjs";

const reasons = {
  3500: "protocol_error",
  3501: "frame_too_large",
  3502: "unsupported_version",
};

function invalid(name, description, code, bytes, options = {}) {
  const { after = "hello", transport = "stream", framing = "uint32", ends = false } = options;
  const hex = Buffer.from(bytes).toString("hex");
  const error = { code, reason: reasons[code] };
  const direction = "client_to_server";
  return { name, description, direction, framing, transport, after, hex, ends, error };
}

const open = { after: "open" };
const hex = (text) => Buffer.from(text.replaceAll(" ", ""), "hex");
const message = (value) => frame(encode("ClientMessage", value));
const body = (...parts) => frame(Buffer.concat(parts));
const groups = (depth) =>
  Buffer.concat([Buffer.alloc(depth, key(9, 3)), Buffer.alloc(depth, key(9, 4))]);
const hello = (...fields) => body(numberField(1, 1), bytesField(2, Buffer.concat(fields)));
const version1 = numberField(1, 1);
const call = { id: 2, call: { method: "echo" } };

const frames = [
  invalid("length-above-limit", "65,537, by the four bytes alone.", 3501, hex("00010001")),
  invalid("length-2-31", "2^31: the length is unsigned.", 3501, hex("80000000")),
  invalid("length-max", "2^32 - 1.", 3501, hex("ffffffff")),
  invalid("length-above-limit-first", "Before anything else.", 3501, hex("00010001"), open),
  invalid(
    "length-above-limit-behind-good",
    "Behind a heartbeat and a call.",
    3501,
    Buffer.concat([hex("00000000"), message(call), hex("00010001")]),
  ),
  invalid(
    "http-request",
    "The first line of an HTTP request.",
    3501,
    "GET / HTTP/1.1\r\n\r\n",
    open,
  ),
  invalid(
    "tls-hello",
    "The first bytes of a TLS handshake.",
    3501,
    hex("1603010200010001fc"),
    open,
  ),
  invalid("header-cut", "The stream ends inside a length.", 3500, hex("0000"), { ends: true }),
  invalid("body-cut", "The stream ends inside a body.", 3500, message(call).subarray(0, -1), {
    ends: true,
  }),
  invalid("varint-length-above-limit", "65,537 as a varint.", 3501, hex("818004"), {
    framing: "varint",
  }),
  invalid("varint-length-6-bytes", "A length of six bytes.", 3500, hex("808080808000"), {
    framing: "varint",
  }),
  invalid("websocket-header-cut", "A message that ends inside a length.", 3500, hex("0000"), {
    transport: "websocket",
  }),
  invalid("websocket-body-cut", "A message that ends inside a body.", 3500, hex("0000000508"), {
    transport: "websocket",
  }),
  invalid(
    "websocket-second-frame-cut",
    "A message whose first frame is whole and whose second is not.",
    3500,
    Buffer.concat([message(call), message(call).subarray(0, 6)]),
    { transport: "websocket" },
  ),
  invalid("websocket-length-above-limit", "A frame in a message.", 3501, hex("00010001"), {
    transport: "websocket",
  }),
];

const protobuf = [
  invalid("field-number-0", "No field has the number 0.", 3500, body(hex("0000"))),
  invalid("field-number-0-inside", "Nor inside a body.", 3500, body(hex("1a020000"))),
  invalid("wire-type-6", "There is no wire type 6.", 3500, body(hex("0e00"))),
  invalid("wire-type-7", "There is no wire type 7.", 3500, body(hex("0f00"))),
  invalid("group-end-alone", "The end of a group that never began.", 3500, body(hex("4c"))),
  invalid("group-without-end", "A group that does not end.", 3500, body(hex("4b0801"))),
  invalid("group-other-end", "A group that ends as another one.", 3500, body(hex("4b54"))),
  invalid("groups-too-deep", "Groups nested 1,000 deep.", 3500, body(groups(1000))),
  invalid("varint-cut", "A number that is cut off.", 3500, body(hex("0880"))),
  invalid(
    "varint-11-bytes",
    "A number of 11 bytes.",
    3500,
    body(hex("08ffffffffffffffffffff013a00")),
  ),
  invalid("tag-above-32-bits", "A tag of 33 bits.", 3500, body(hex("f8ffffff1f00"))),
  invalid("body-beyond-frame", "A body longer than its frame.", 3500, body(hex("1a050a0161"))),
  invalid("string-beyond-body", "A name longer than its body.", 3500, body(hex("1a030a0561"))),
  invalid("bytes-beyond-body", "A payload longer than its body.", 3500, body(hex("1a03120561"))),
  invalid("length-above-32-bits", "A length of 33 bits.", 3500, body(hex("1a8080808010"))),
  invalid("fixed32-cut", "Four bytes that are three.", 3500, body(hex("4d000000"))),
  invalid("fixed64-cut", "Eight bytes that are four.", 3500, body(hex("4900000000"))),
  invalid("utf8-invalid", "A name with the byte 0xff.", 3500, body(hex("1a030a01ff"))),
  invalid("utf8-surrogate", "A name with half of a pair.", 3500, body(hex("1a050a03eda080"))),
  invalid("utf8-overlong", "A name with NUL in two bytes.", 3500, body(hex("22040a02c080"))),
  invalid("utf8-cut", "A name that ends inside a letter.", 3500, body(hex("1a030a01c3"))),
  invalid(
    "label-invalid-utf8",
    "A label that is no text.",
    3500,
    hello(version1, hex("32060a01ff120178")),
    open,
  ),
];

const order = [
  invalid("no-body", "An id and nothing else.", 3500, body(numberField(1, 5))),
  invalid(
    "unknown-body",
    "A body of a later version.",
    3500,
    body(numberField(1, 5), bytesField(8, "x")),
  ),
  invalid(
    "server-body-type",
    "Body 2 as a number: skipped, so there is none.",
    3500,
    body(numberField(2, 1)),
    open,
  ),
  invalid("call-first", "A call before the Hello.", 3500, message(call), open),
  invalid(
    "publish-first",
    "A publish before the Hello.",
    3500,
    message({ id: 1, publish: { topic: "t" } }),
    open,
  ),
  invalid(
    "subscribe-first",
    "A subscribe before the Hello.",
    3500,
    message({ id: 1, subscribe: { topic: "t" } }),
    open,
  ),
  invalid("goodbye-first", "A goodbye before the Hello.", 3500, message({ goodbye: {} }), open),
  invalid("hello-twice", "A second Hello.", 3500, message({ id: 9, hello: { version: 1 } })),
  invalid(
    "hello-without-id",
    "A Hello that cannot be answered.",
    3500,
    message({ hello: { version: 1 } }),
    open,
  ),
  invalid(
    "hello-id-zero",
    "A Hello whose id is written as 0.",
    3500,
    body(numberField(1, 0), bytesField(2, version1)),
    open,
  ),
  invalid(
    "hello-id-2-32",
    "A Hello whose id is 2^32, which is 0 in 32 bits.",
    3500,
    body(numberField(1, 4294967296n), bytesField(2, version1)),
    open,
  ),
  invalid(
    "hello-version-0",
    "A Hello without a version.",
    3502,
    message({ id: 1, hello: {} }),
    open,
  ),
  invalid(
    "hello-version-2",
    "A Hello of the next version.",
    3502,
    message({ id: 1, hello: { version: 2 } }),
    open,
  ),
  invalid(
    "hello-17-labels",
    "More labels than a server takes.",
    3500,
    hello(version1, ...Array.from({ length: 17 }, (_, index) => entryField(6, `k${index}`, ""))),
    open,
  ),
  invalid(
    "hello-label-257-bytes",
    "A longer label than a server takes.",
    3500,
    hello(version1, entryField(6, "k", "v".repeat(256))),
    open,
  ),
  invalid(
    "hello-label-no-name",
    "A label without a name.",
    3500,
    hello(version1, entryField(6, "", "v")),
    open,
  ),
  invalid(
    "hello-label-equals",
    "A label whose name has a =.",
    3500,
    hello(version1, entryField(6, "a=b", "v")),
    open,
  ),
];

export const invalidVectors = [...frames, ...protobuf, ...order];
