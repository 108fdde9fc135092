import { describe, expect, it } from "vitest";
import { noDeliveries } from "../../src/probe/generator-tally.ts";
import type { ConnectionOwner } from "../../src/probe/probe-connection.ts";
import { ProbeConnection } from "../../src/probe/probe-connection.ts";
import { TopicLedger } from "../../src/probe/topic-ledger.ts";

const NOBODY = {} as ConnectionOwner;

/** Held, each subscribed to the next topic. */
function connections(ledger: TopicLedger, count: number, isFlowing: boolean): ProbeConnection[] {
  return Array.from({ length: count }, (_, index) => {
    const connection = new ProbeConnection(NOBODY, 0);
    connection.index = index;
    connection.topic = ledger.nextSubscription();
    ledger.subscribe(connection, isFlowing);
    return connection;
  });
}

describe("sequence numbers", () => {
  it("tell what was missed in between, and what came twice", () => {
    const ledger = new TopicLedger(1, 1);
    const [connection] = connections(ledger, 1, false) as [ProbeConnection];
    const deliveries = noDeliveries();
    const came = [1, 2, 5, 5, 3, 6].map((n) => ledger.receive(connection, 0, n, deliveries));
    expect(came).toEqual([true, true, true, false, false, true]);
    expect(deliveries).toEqual({ received: 4, missed: 2, announced: 0, duplicates: 2 });
  });

  it("of several publishers are counted apart, and of an unknown one not at all", () => {
    const ledger = new TopicLedger(1, 2);
    const [connection] = connections(ledger, 1, false) as [ProbeConnection];
    const deliveries = noDeliveries();
    for (const publisher of [0, 1, 0, 1, 2, 999]) {
      ledger.receive(connection, publisher, publisher === 0 ? 1 : 2, deliveries);
    }
    expect(deliveries).toEqual({ received: 2, missed: 1, announced: 0, duplicates: 2 });
  });

  it("begin with the first that comes for whoever subscribes while events flow", () => {
    const ledger = new TopicLedger(1, 1);
    const [connection] = connections(ledger, 1, true) as [ProbeConnection];
    const deliveries = noDeliveries();
    for (const sequence of [812, 813, 815]) ledger.receive(connection, 0, sequence, deliveries);
    expect(deliveries).toEqual({ received: 3, missed: 1, announced: 0, duplicates: 0 });
  });

  it("mean nothing to one that is not subscribed", () => {
    const ledger = new TopicLedger(1, 1);
    const deliveries = noDeliveries();
    expect(ledger.receive(new ProbeConnection(NOBODY, 0), 0, 5, deliveries)).toBe(false);
    expect(deliveries).toEqual(noDeliveries());
  });
});

describe("settling", () => {
  it("counts what never came as missed, once", () => {
    const ledger = new TopicLedger(2, 1);
    const held = connections(ledger, 4, false);
    const deliveries = noDeliveries();
    ledger.receive(held[0]!, 0, 1, deliveries);
    // Topic 0: 3 published, held by 0 and 2; topic 1: none.
    ledger.settle(held, [[3, 0]], deliveries);
    ledger.settle(held, [[3, 0]], deliveries);
    expect(deliveries).toMatchObject({ received: 1, missed: 2 + 3 });
  });

  it("does not bill what went before to one that came late and saw nothing", () => {
    const ledger = new TopicLedger(1, 2);
    const held = connections(ledger, 1, true);
    const deliveries = noDeliveries();
    ledger.receive(held[0]!, 1, 40, deliveries);
    ledger.settle(held, [[500], [42]], deliveries);
    expect(deliveries).toMatchObject({ received: 1, missed: 2 });
  });

  it("with fewer publishers or topics than known is no mistake", () => {
    const ledger = new TopicLedger(3, 2);
    const held = connections(ledger, 3, false);
    const deliveries = noDeliveries();
    ledger.settle(held, [[], [1]], deliveries);
    expect(deliveries.missed).toBe(1);
  });
});

describe("publishers", () => {
  it("stay the same while they are held, and are replaced when they are not", () => {
    const ledger = new TopicLedger(5, 1);
    const held = connections(ledger, 3, false);
    const first = [0, 1, 2, 3, 4].map((topic) => ledger.publisherOf(topic, held));
    expect(first).toEqual([held[0], held[1], held[2], held[0], held[1]]);
    // One that publishes to a topic it is not subscribed to goes as well.
    held[0]!.index = -1;
    const left = [held[1]!, held[2]!];
    const second = [0, 1, 2, 3, 4].map((topic) => ledger.publisherOf(topic, left));
    expect(second).toEqual([held[1], held[1], held[2], held[2], held[1]]);
    expect(held.map(({ isPublisher }) => isPublisher)).toEqual([true, true, true]);
  });

  it("are nobody where nobody is held", () => {
    const ledger = new TopicLedger(1, 1);
    expect(ledger.publisherOf(0, [])).toBeNull();
    const held = connections(ledger, 1, false);
    expect(ledger.publisherOf(0, held)).toBe(held[0]);
  });

  it("and subscriptions take the topics in turn, independent of each other", () => {
    const ledger = new TopicLedger(3, 1);
    expect([ledger.nextPublish(), ledger.nextSubscription(), ledger.nextPublish()]).toEqual([
      0, 0, 1,
    ]);
    expect([ledger.nextPublish(), ledger.nextPublish(), ledger.nextSubscription()]).toEqual([
      2, 0, 1,
    ]);
  });
});
