import { createDeferred } from '../../src/base/deferred.ts'
import { compareBytes, toHex } from '../../src/base/bytes.ts'
import type { Store, StoreChange, StoreEntry, StoreRange } from '../../src/storage/store.ts'

/** A call under way: it is done at one time, and says so at a later one. */
interface Call {
  readonly kind: 'read' | 'write' | 'clear'
  act: (() => void) | undefined
  readonly end: (error?: Error) => void
}

/**
 * A database on disk of which the test decides, for each call, when it is done and when its caller hears of it, in any
 * order; it remembers what it has held.
 */
export class SlowStore implements Store {
  readonly permanent = true
  readonly readsAtOnce: boolean
  readonly #values = new Map<string, Uint8Array>()
  readonly #calls: Call[] = []
  /** By key in hex: what was there from which time on, oldest first. */
  readonly #past = new Map<string, { readonly from: number; readonly value: Uint8Array | undefined }[]>()
  #time = 0

  constructor(readsAtOnce: boolean) {
    this.readsAtOnce = readsAtOnce
  }

  /** A time that grows with every change. */
  get time(): number {
    return this.#time
  }

  /** Calls that are not done, or of which the caller has not heard. */
  get underWay(): number {
    return this.#calls.length
  }

  valueOf(key: Uint8Array): Uint8Array | undefined {
    return this.#values.get(toHex(key))
  }

  /** Changes what is there behind everybody's back. */
  put(key: Uint8Array, value: Uint8Array): void {
    this.#write([{ key, value }])
  }

  /** All that was there under a key from a time until now. */
  since(key: Uint8Array, time: number): readonly (Uint8Array | undefined)[] {
    const past = this.#past.get(toHex(key)) ?? []
    const before = past.filter(({ from }) => from <= time).at(-1)
    return [before?.value, ...past.filter(({ from }) => from > time).map(({ value }) => value)]
  }

  /** Goes on with one of the calls, and ends it if it was done before. One that fails may have been done all the same. */
  step(which: number, fails: boolean): void {
    const call = this.#calls[which % this.#calls.length]
    if (call === undefined) return
    // Writes are done in the order in which they came.
    if (
      call.act !== undefined &&
      call.kind !== 'read' &&
      this.#calls.some(other => isBefore(other, call, this.#calls))
    ) {
      return
    }
    if (call.act !== undefined && !fails) {
      call.act()
      call.act = undefined
      return
    }
    this.#calls.splice(this.#calls.indexOf(call), 1)
    call.end(fails ? new Error('the disk is on fire') : undefined)
  }

  get(key: Uint8Array): Uint8Array | undefined | Promise<Uint8Array | undefined> {
    if (this.readsAtOnce) return this.valueOf(key)
    return this.#later('read', () => this.valueOf(key))
  }

  getMany(
    keys: readonly Uint8Array[]
  ): readonly (Uint8Array | undefined)[] | Promise<readonly (Uint8Array | undefined)[]> {
    if (this.readsAtOnce) return keys.map(key => this.valueOf(key))
    return this.#later('read', () => keys.map(key => this.valueOf(key)))
  }

  batch(changes: readonly StoreChange[]): Promise<void> {
    return this.#later('write', () => this.#write(changes))
  }

  async page({ gte, lt }: StoreRange, limit: number): Promise<readonly StoreEntry[]> {
    return [...this.#values]
      .map(([hex, value]) => [new Uint8Array(Buffer.from(hex, 'hex')), value] as const)
      .filter(([key]) => compareBytes(key, gte) >= 0 && (lt === undefined || compareBytes(key, lt) < 0))
      .toSorted(([a], [b]) => compareBytes(a, b))
      .slice(0, limit)
  }

  async clear(range: StoreRange): Promise<void> {
    const keys = (await this.page(range, Infinity)).map(([key]) => key)
    // Not atomic: it is done key by key.
    for (const key of keys) await this.#later('clear', () => this.#write([{ key, value: undefined }]))
  }

  async close(): Promise<void> {}

  #later<T>(kind: Call['kind'], act: () => T): Promise<T> {
    const done = createDeferred<T>()
    let result: T
    this.#calls.push({
      kind,
      act: () => {
        result = act()
      },
      end: error => (error === undefined ? done.resolve(result) : done.reject(error))
    })
    return done.promise
  }

  #write(changes: readonly StoreChange[]): void {
    this.#time++
    for (const { key, value } of changes) {
      const hex = toHex(key)
      if (value === undefined) this.#values.delete(hex)
      else this.#values.set(hex, value)
      const past = this.#past.get(hex)
      const now = { from: this.#time, value }
      if (past === undefined) this.#past.set(hex, [now])
      else past.push(now)
    }
  }
}

function isBefore(other: Call, call: Call, calls: readonly Call[]): boolean {
  return other.act !== undefined && other.kind !== 'read' && calls.indexOf(other) < calls.indexOf(call)
}
