// The session protocol on one connection: Hello, and what may follow it.

import type { Connection } from "../connection/connection.ts";
import {
  type ClientMessage,
  type Hello,
  PROTOCOL_VERSION,
  type Publish,
  STATUS,
  type Subscribe,
} from "../wire/messages.ts";
import type { Options } from "../config/options.ts";
import { acknowledge } from "./acknowledge.ts";
import type { Registry } from "./registry.ts";
import { fail, type Router } from "./router.ts";
import type { Topics } from "./topics.ts";

/** Characters of Hello.client that are kept. */
const CLIENT_NAME_MAX = 128;

export class Session {
  /** The server's: they are replaced when they change. */
  options: Options;
  readonly #node: string;
  readonly #router: Router;
  readonly #topics: Topics;
  readonly #registry: Registry;

  constructor(options: Options, node: string, router: Router, topics: Topics, registry: Registry) {
    this.options = options;
    this.#node = node;
    this.#router = router;
    this.#topics = topics;
    this.#registry = registry;
  }

  /** @returns whether the connection is active now. */
  hello(connection: Connection, message: ClientMessage): boolean {
    const { id } = message;
    const hello = message.hello!;
    if (id === 0) {
      connection.close("protocol_error", "bad_hello", { text: "Hello needs an id" });
      return false;
    }
    if (hello.version !== PROTOCOL_VERSION) {
      const text = `this server speaks version ${PROTOCOL_VERSION}`;
      fail(connection, id, STATUS.FAILED_PRECONDITION, text);
      connection.close("unsupported_version", "bad_version", { text });
      return false;
    }
    const labels = this.#labels(hello);
    if (typeof labels === "string") {
      fail(connection, id, STATUS.INVALID_ARGUMENT, labels);
      connection.close("protocol_error", "bad_hello", { text: labels });
      return false;
    }
    connection.labels = labels;
    connection.clientName = shortened(hello.client);
    this.#registry.addLabels(connection);
    connection.welcome({
      id,
      welcome: {
        connectionId: connection.id,
        heartbeatMs: this.options.connection.heartbeatMs,
        maxFrameBytes: this.options.frame.bytesMax,
        node: this.#node,
        version: PROTOCOL_VERSION,
      },
    });
    return true;
  }

  message(connection: Connection, message: ClientMessage): void {
    switch (message.body) {
      case "call":
        this.#router.call(connection, message.id, message.call!);
        return;
      case "publish":
        this.#publish(connection, message.id, message.publish!);
        return;
      case "subscribe":
        this.#subscribe(connection, message.id, message.subscribe!);
        return;
      case "unsubscribe":
        this.#topics.unsubscribe(connection, message.unsubscribe!.topic);
        acknowledge(connection, message.id);
        return;
      default:
        connection.close("protocol_error", "unknown_body");
    }
  }

  /** The labels, null for none, or what is wrong with them. */
  #labels(hello: Hello): ReadonlyMap<string, string> | null | string {
    const { max, bytesMax } = this.options.label;
    const labels = Object.entries(hello.labels);
    if (labels.length === 0) return null;
    if (labels.length > max) return `more than ${max} labels`;
    for (const [key, value] of labels) {
      if (key === "" || key.includes("=")) return "a label's key is not empty and has no =";
      if (Buffer.byteLength(key) + Buffer.byteLength(value) > bytesMax) {
        return `a label is longer than ${bytesMax} bytes`;
      }
    }
    return new Map(labels);
  }

  #publish(connection: Connection, id: number, { topic, payload }: Publish): void {
    if (!this.options.topic.publishFromClients) {
      fail(connection, id, STATUS.PERMISSION_DENIED, "clients may not publish here");
    } else if (!this.#topics.isNameValid(topic)) {
      fail(connection, id, STATUS.INVALID_ARGUMENT, this.#nameAdvice());
    } else if (this.#topics.publish(topic, payload) === "busy") {
      fail(connection, id, STATUS.RESOURCE_EXHAUSTED, "the topic is behind", true);
    } else {
      acknowledge(connection, id);
    }
  }

  #subscribe(connection: Connection, id: number, { topic }: Subscribe): void {
    if (!this.#topics.isNameValid(topic)) {
      fail(connection, id, STATUS.INVALID_ARGUMENT, this.#nameAdvice());
      return;
    }
    const outcome = this.#topics.subscribe(connection, topic, id);
    if (outcome === "joining") return;
    if (outcome === "subscribed") {
      acknowledge(connection, id);
    } else if (outcome === "too_many_of_connection") {
      const text = `more than ${this.options.topic.perConnectionMax} subscriptions`;
      fail(connection, id, STATUS.RESOURCE_EXHAUSTED, text);
    } else {
      fail(connection, id, STATUS.RESOURCE_EXHAUSTED, "the node has too many topics", true);
    }
  }

  #nameAdvice(): string {
    return `a topic's name has 1 to ${this.options.topic.nameBytesMax} bytes`;
  }
}

/** As it is where it is short: the reader gives all that say the same name one string. */
function shortened(name: string): string {
  if (name.length <= CLIENT_NAME_MAX) return name;
  // A copy: a slice would keep the whole string alive.
  return Buffer.from(name.slice(0, CLIENT_NAME_MAX)).toString();
}
