// Functions of the user's that are told something. What one throws reaches neither the others nor
// the connection: it surfaces as an uncaught error of the program, in a turn of its own.

export class Listeners<Arguments extends readonly unknown[]> {
  readonly #listeners: Set<(...told: Arguments) => void> = new Set();
  /** What is being told, and what came up while it was: everybody hears all of it, in order. */
  readonly #news: Arguments[] = [];

  get size(): number {
    return this.#listeners.size;
  }

  /** @returns a function that removes it again. */
  add(listener: (...told: Arguments) => void): () => void {
    // One of its own, so that the same function may be added twice and removed once.
    const entry = (...told: Arguments): void => listener(...told);
    this.#listeners.add(entry);
    return () => void this.#listeners.delete(entry);
  }

  tell(...told: Arguments): void {
    if (this.#news.push(told) > 1) return;
    for (let next: Arguments | undefined = told; next !== undefined; next = this.#news[0]) {
      for (const listener of [...this.#listeners]) call(listener, next);
      this.#news.shift();
    }
  }
}

function call<A extends readonly unknown[]>(listener: (...told: A) => void, told: A): void {
  try {
    listener(...told);
  } catch (error) {
    queueMicrotask(() => {
      throw error;
    });
  }
}
