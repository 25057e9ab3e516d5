import { AbstractIterator } from 'abstract-level'
import type { Keyspace, Scan, ScanOptions } from '../index.ts'
import { toLevelError } from './level-error.ts'
import { type Bounds, boundsFrom, boundsOf } from './level-range.ts'
import { readOptionsOf } from './level-options.ts'

/** What Level hands down to `_iterator`: bounds encoded, the rest as the caller gave it. */
export interface PrivateIteratorOptions extends Bounds {
  readonly reverse: boolean
  /** -1 for all. */
  readonly limit: number
  /** Whether values are wanted at all. */
  readonly values: boolean
}

type Entry = [key: Buffer, value: Buffer | undefined]

/**
 * Level's iterator over scans of a keyspace. A seek begins a new scan. After an error it is where it was before the call that
 * failed, so that the call can be made again.
 */
export class LevelIterator<TDatabase, K, V> extends AbstractIterator<TDatabase, K, V> {
  readonly #keyspace: Keyspace<Buffer, Buffer>
  /** Of a page's request: level, deadline, signal, and the prefix that all keys have. */
  readonly #call: ScanOptions<Buffer>
  readonly #bounds: Bounds
  readonly #reverse: boolean
  readonly #withValues: boolean
  /** What is left of the range: less than the bounds after a seek, `undefined` when the seek left it. */
  #rest: Bounds | undefined
  /** Where the next scan goes on within that. */
  #after: string | undefined
  #scan: Scan<Entry> | Scan<Buffer> | undefined

  constructor(
    db: TDatabase,
    keyspace: Keyspace<Buffer, Buffer>,
    options: PrivateIteratorOptions,
    prefix: Buffer | undefined
  ) {
    super(db, options as object)
    this.#keyspace = keyspace
    this.#call = { ...readOptionsOf(options), ...(prefix === undefined ? {} : { prefix }) }
    this.#bounds = boundsOf(options)
    this.#reverse = options.reverse
    this.#withValues = options.values
    this.#rest = this.#bounds
  }

  /** @internal */
  async _next(): Promise<Entry | undefined> {
    const [entry] = await this.#take(1)
    return entry
  }

  /** @internal */
  _nextv(size: number): Promise<Entry[]> {
    return this.#take(size)
  }

  /** @internal */
  _all(): Promise<Entry[]> {
    return this.#take(Infinity)
  }

  /** @internal */
  _seek(target: Buffer): void {
    this.#drop()
    this.#rest = boundsFrom(this.#bounds, target, this.#reverse)
    this.#after = undefined
  }

  /** @internal */
  async _close(): Promise<void> {
    this.#drop()
  }

  async #take(size: number): Promise<Entry[]> {
    if (this.#rest === undefined) return []
    const scan = (this.#scan ??= this.#begin(this.#rest))
    const from = scan.token
    try {
      if (size === Infinity) return (await scan.all()).map(toEntry)
      const entries: Entry[] = []
      while (entries.length < size) {
        const { done, value } = await scan.next()
        if (done === true) break
        entries.push(toEntry(value))
      }
      return entries
    } catch (error) {
      this.#drop()
      this.#after = from
      throw toLevelError(error)
    }
  }

  #begin(bounds: Bounds): Scan<Entry> | Scan<Buffer> {
    const options: ScanOptions<Buffer> = {
      ...this.#call,
      ...bounds,
      reverse: this.#reverse,
      ...(this.limit === Infinity ? {} : { limit: this.limit - this.count }),
      ...(this.#after === undefined ? {} : { after: this.#after })
    }
    return this.#withValues ? this.#keyspace.entries(options) : this.#keyspace.keys(options)
  }

  /** Ends the scan; what it is fetching is dropped. */
  #drop(): void {
    void this.#scan?.return()
    this.#scan = undefined
  }
}

function toEntry(item: Entry | Buffer): Entry {
  return Array.isArray(item) ? item : [item, undefined]
}
