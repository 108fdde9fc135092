import { describe, expect, it } from "vitest";
import { Admission } from "../../src/server/admission.ts";

class Door {
  pending: number = 0;
  /** Files that the system counts; null: it does not say. */
  counted: number | null = null;
  readonly moves: boolean[] = [];
  readonly admission: Admission;

  constructor(connectionsMax: number, filesMax: number) {
    const move = (accepting: boolean): void => void this.moves.push(accepting);
    this.admission = new Admission(
      connectionsMax,
      filesMax,
      () => this.counted,
      () => this.pending,
      move,
    );
  }

  /** A connection comes as a listener lets it in. @returns false where it was cut off. */
  come(): boolean {
    if (!this.admission.admit()) return false;
    if (this.admission.isFull) this.admission.turnedAway++;
    else this.admission.served++;
    return true;
  }
}

describe("admission", () => {
  it("stops where the system counts more files than it knows of, until they are gone", () => {
    const door = new Door(1_000, 100);
    door.counted = 99;
    for (let index = 0; index < 98; index++) door.come();
    expect(door.moves).toEqual([]);
    for (let index = 0; index < 98; index++) door.admission.left(true);
    // Sockets that were closed and whose peers do not answer: nobody is served, no file is free.
    door.counted = 100;
    door.admission.look();
    expect(door.come()).toBe(false);
    expect(door.moves).toEqual([false]);
    door.counted = 20;
    door.admission.look();
    expect(door.moves).toEqual([false, true]);
    expect(door.come()).toBe(true);
  });

  it("serves as many as allowed and turns the next ones away", () => {
    const { admission } = new Door(3, Infinity);
    for (let count = 0; count < 3; count++) {
      expect([admission.isFull, admission.admit()]).toEqual([false, true]);
      admission.served++;
    }
    expect([admission.isFull, admission.admit()]).toEqual([true, true]);
  });

  it("serves again when one of those served has left, not when one turned away has", () => {
    const door = new Door(1, Infinity);
    for (let count = 0; count < 3; count++) door.come();
    expect([door.admission.served, door.admission.turnedAway]).toEqual([1, 2]);
    door.admission.left(false);
    expect(door.admission.isFull).toBe(true);
    door.admission.left(true);
    expect(door.admission.isFull).toBe(false);
  });

  it("stops accepting with the last file but admits it, and then nobody", () => {
    const door = new Door(100, 10);
    for (let count = 0; count < 9; count++) expect(door.come()).toBe(true);
    expect(door.moves).toEqual([]);
    expect(door.come()).toBe(true);
    expect(door.moves).toEqual([false]);
    expect([door.come(), door.come()]).toEqual([false, false]);
    expect([door.moves, door.admission.isAccepting]).toEqual([[false], false]);
  });

  it("counts those turned away and those not yet upgraded, because they hold files too", () => {
    const door = new Door(2, 10);
    for (let count = 0; count < 5; count++) door.come();
    door.pending = 4;
    expect(door.moves).toEqual([]);
    expect(door.come()).toBe(true);
    expect(door.moves).toEqual([false]);
    expect(door.come()).toBe(false);
  });

  it("accepts again once 2% of the files are free, not with every one that goes", () => {
    const door = new Door(200, 200);
    while (door.come());
    expect(door.admission.served).toBe(200);
    for (let count = 0; count < 3; count++) door.admission.left(true);
    expect(door.moves).toEqual([false]);
    door.admission.left(true);
    expect([door.moves, door.admission.isAccepting]).toEqual([[false, true], true]);
  });

  it("accepts again where only sockets that never upgraded have gone, when it is reminded", () => {
    const door = new Door(100, 10);
    door.pending = 10;
    expect(door.come()).toBe(false);
    door.pending = 0;
    expect(door.moves).toEqual([false]);
    door.admission.reconsider();
    expect(door.moves).toEqual([false, true]);
    door.admission.reconsider();
    expect(door.moves).toEqual([false, true]);
  });

  it("never stops accepting where the number of files is not known", () => {
    const door = new Door(5, Infinity);
    for (let count = 0; count < 10_000; count++) expect(door.come()).toBe(true);
    expect(door.moves).toEqual([]);
  });

  it("asserts that as many leave as came", () => {
    const door = new Door(5, 100);
    expect(() => door.admission.left(true)).toThrow("as many leave as came");
    const other = new Door(5, 100);
    other.come();
    expect(() => other.admission.left(false)).toThrow("as many leave as came");
  });

  it.each([-1, Number.NaN])("asserts that not less than nobody may come (%d)", (connectionsMax) => {
    expect(() => new Door(connectionsMax, 100)).toThrow("nobody or somebody");
  });

  it("may be given another limit: those beyond it stay, newcomers are refused", () => {
    const door = new Door(3, 100);
    for (let count = 0; count < 3; count++) door.come();
    door.admission.setConnectionsMax(1);
    expect([door.admission.served, door.admission.isFull]).toEqual([3, true]);
    door.admission.left(true);
    door.admission.left(true);
    expect(door.admission.isFull).toBe(true);
    door.admission.left(true);
    expect(door.admission.isFull).toBe(false);
    door.admission.setConnectionsMax(0);
    expect(door.admission.isFull).toBe(true);
    expect(() => door.admission.setConnectionsMax(-1)).toThrow("nobody or somebody");
  });

  it.each([1, 2, 5])("of %i files still lets somebody in and opens again afterwards", (files) => {
    const door = new Door(100, files);
    expect(door.come()).toBe(true);
    while (door.come());
    expect(door.admission.served).toBe(files);
    for (let count = 0; count < files; count++) door.admission.left(true);
    expect(door.admission.isAccepting).toBe(true);
  });
});
