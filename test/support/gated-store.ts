import { createDeferred, type Deferred } from '../../src/base/deferred.ts'
import type { Store, StoreChange, StoreEntry, StoreRange } from '../../src/storage/store.ts'

/** A call that waits at the gate. */
interface Waiting {
  readonly what: 'get' | 'getMany' | 'batch' | 'clear' | 'page'
  readonly gate: Deferred<void>
}

/** A store whose calls wait to be let through, or fail, as the test says. Everything goes through unless told otherwise. */
export class GatedStore implements Store {
  readonly permanent: boolean
  readonly readsAtOnce: boolean
  readonly batches: { readonly changes: readonly StoreChange[]; readonly sync: boolean }[] = []
  readonly lookups: number[] = []
  /** Which of the look-ups were to be of one moment. */
  readonly asOne: boolean[] = []
  /** Calls of these kinds wait for {@link release} or {@link fail}. */
  readonly held = new Set<Waiting['what']>()
  readonly #store: Store
  readonly #waiting: Waiting[] = []

  constructor(store: Store, permanent: boolean = store.permanent) {
    this.#store = store
    this.permanent = permanent
    this.readsAtOnce = store.readsAtOnce
  }

  /** What waits now, oldest first. */
  get waiting(): readonly Waiting['what'][] {
    return this.#waiting.map(({ what }) => what)
  }

  /** Lets the oldest waiting call through; false when there is none. */
  release(): boolean {
    const call = this.#waiting.shift()
    call?.gate.resolve()
    return call !== undefined
  }

  /** Makes the oldest waiting call fail without any effect; false when there is none. */
  fail(error: Error = new Error('the disk is on fire')): boolean {
    const call = this.#waiting.shift()
    call?.gate.reject(error)
    return call !== undefined
  }

  get(key: Uint8Array): Uint8Array | undefined | Promise<Uint8Array | undefined> {
    return this.held.has('get') ? this.#pass('get').then(() => this.#store.get(key)) : this.#store.get(key)
  }

  getMany(
    keys: readonly Uint8Array[],
    asOne?: boolean
  ): readonly (Uint8Array | undefined)[] | Promise<readonly (Uint8Array | undefined)[]> {
    this.lookups.push(keys.length)
    this.asOne.push(asOne === true)
    return this.held.has('getMany')
      ? this.#pass('getMany').then(() => this.#store.getMany(keys, asOne))
      : this.#store.getMany(keys, asOne)
  }

  async batch(changes: readonly StoreChange[], options: { readonly sync: boolean }): Promise<void> {
    this.batches.push({ changes, sync: options.sync })
    if (this.held.has('batch')) await this.#pass('batch')
    await this.#store.batch(changes, options)
  }

  async page(range: StoreRange, limit: number, maxBytes?: number, isReverse?: boolean): Promise<readonly StoreEntry[]> {
    if (this.held.has('page')) await this.#pass('page')
    return this.#store.page(range, limit, maxBytes, isReverse)
  }

  async clear(range: StoreRange): Promise<void> {
    if (this.held.has('clear')) await this.#pass('clear')
    await this.#store.clear(range)
  }

  close(): Promise<void> {
    return this.#store.close()
  }

  #pass(what: Waiting['what']): Promise<void> {
    const gate = createDeferred<void>()
    this.#waiting.push({ what, gate })
    return gate.promise
  }
}

/** The `soon` of a clock whose turns the test makes. */
export class Turns {
  #calls: (() => void)[] = []

  get waiting(): number {
    return this.#calls.length
  }

  soon(fn: () => void): void {
    this.#calls.push(fn)
  }

  /** Runs what is due now, then lets everything that awaits settled promises come to rest. */
  async turn(): Promise<void> {
    const calls = this.#calls
    this.#calls = []
    for (const call of calls) call()
    await settled()
  }
}

/** Resolves when all code that awaits settled promises has come to its next real wait. */
export async function settled(): Promise<void> {
  for (let i = 0; i < 50; i++) await Promise.resolve()
}
