/** Listeners of our own components: synchronous, in order of subscription, without the cost of an `Event` object. */
export class Emitter<Events extends object> {
  readonly #listeners = new Map<keyof Events, Set<(detail: never) => void>>()

  /** Subscribes; the returned function unsubscribes. */
  on<K extends keyof Events>(type: K, listener: (detail: Events[K]) => void): () => void {
    let set = this.#listeners.get(type)
    if (set === undefined) this.#listeners.set(type, (set = new Set()))
    set.add(listener)
    return () => set.delete(listener)
  }

  emit<K extends keyof Events>(type: K, detail: Events[K]): void {
    const set = this.#listeners.get(type) as Set<(detail: Events[K]) => void> | undefined
    if (set !== undefined) for (const listener of set) listener(detail)
  }
}
