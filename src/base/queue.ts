/** A first-in first-out queue with a bound: what does not fit is refused, never silently kept. */
export class BoundedQueue<T> {
  readonly max: number
  #items: T[] = []
  #head = 0

  constructor(max: number) {
    this.max = max
  }

  get size(): number {
    return this.#items.length - this.#head
  }

  /** False when the queue is full; the item was not taken. */
  push(item: T): boolean {
    if (this.size >= this.max) return false
    this.#items.push(item)
    return true
  }

  /** The first, which stays. */
  peek(): T | undefined {
    return this.#items[this.#head]
  }

  shift(): T | undefined {
    if (this.#head === this.#items.length) return undefined
    const item = this.#items[this.#head]
    this.#head++
    // Drop the consumed half in one move, so that a shift costs O(1) on average and memory is given back.
    if (this.#head > 64 && this.#head * 2 > this.#items.length) {
      this.#items = this.#items.slice(this.#head)
      this.#head = 0
    }
    return item
  }

  /** Takes everything out. */
  drain(): T[] {
    const items = this.#items.slice(this.#head)
    this.#items = []
    this.#head = 0
    return items
  }
}
