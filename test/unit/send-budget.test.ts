import { describe, expect, it } from "vitest";
import { type Backlogged, SendBudget } from "../../src/connection/send-budget.ts";

class Member implements Backlogged {
  backlogBytes: number;
  isShed: boolean = false;
  readonly #budget: SendBudget;

  constructor(budget: SendBudget, bytes: number) {
    this.#budget = budget;
    this.backlogBytes = bytes;
    budget.join(this);
    budget.change(bytes);
  }

  shed(): void {
    this.isShed = true;
    this.#budget.change(-this.backlogBytes);
    this.backlogBytes = 0;
    this.#budget.leave(this);
  }
}

function members(budget: SendBudget, ...bytes: number[]): Member[] {
  return bytes.map((count) => new Member(budget, count));
}

describe("the budget", () => {
  it("is exceeded by the first byte above it", () => {
    const budget = new SendBudget(1_000);
    budget.change(1_000);
    expect(budget.isExceeded).toBe(false);
    budget.change(1);
    expect(budget.isExceeded).toBe(true);
    budget.change(-1);
    expect(budget.isExceeded).toBe(false);
    expect(budget.bytes).toBe(1_000);
  });

  it("asserts that no more is given back than was taken", () => {
    const budget = new SendBudget(1_000);
    budget.change(10);
    expect(() => budget.change(-11)).toThrow("the budget never owes");
  });

  it("sheds the largest queue first, and stops at nine tenths", () => {
    const budget = new SendBudget(1_000);
    const [small, large, medium] = members(budget, 100, 600, 500);
    expect(budget.shedWorst()).toBe(1);
    expect([small, large, medium].map((member) => member!.isShed)).toEqual([false, true, false]);
    expect(budget.bytes).toBe(600);
  });

  it("sheds several where one is not enough", () => {
    const budget = new SendBudget(100);
    const all = members(budget, 50, 300, 40, 200, 10);
    expect(budget.shedWorst()).toBe(3);
    expect(all.map(({ isShed }) => isShed)).toEqual([true, true, false, true, false]);
    expect(budget.bytes).toBe(50);
  });

  it("sheds nobody while nine tenths are kept", () => {
    const budget = new SendBudget(1_000);
    const all = members(budget, 450, 450);
    expect(budget.shedWorst()).toBe(0);
    expect(all.some(({ isShed }) => isShed)).toBe(false);
  });

  it("sheds nobody of those who have left", () => {
    const budget = new SendBudget(10);
    const [gone, here] = members(budget, 500, 20);
    budget.leave(gone!);
    expect(budget.shedWorst()).toBe(1);
    expect([gone!.isShed, here!.isShed]).toEqual([false, true]);
  });

  it("ends even where shedding frees nothing", () => {
    const budget = new SendBudget(10);
    let shed = 0;
    for (let count = 0; count < 5; count++) {
      budget.join({ backlogBytes: 100, shed: () => void shed++ });
    }
    budget.change(500);
    expect(budget.shedWorst()).toBe(5);
    expect(shed).toBe(5);
  });
});
