import { abortError } from '../base/abort.ts'
import { EMPTY_BYTES } from '../base/bytes.ts'
import { youngArray } from '../base/young-arrays.ts'
import type { BackendRows, BackendScan } from './backend.ts'
import type { Scan } from './keyspace.ts'

/** Entries that were fetched: of these rows so many. */
interface Page {
  readonly rows: BackendRows
  readonly length: number
}

/** What a scan needs. */
export interface ScanParts<T> {
  /** Begins it; called once, when the first entry is asked for. */
  readonly open: () => BackendScan
  /** A promise only where something has to be waited for. */
  readonly decode: (rows: BackendRows, row: number) => T | Promise<T>
  readonly tokenOf: (key: Uint8Array) => string
  /** Token that it begins behind. */
  readonly after: string | undefined
  /** Infinity for all. */
  readonly limit: number
  readonly pageSize: number
  readonly signal: AbortSignal | undefined
}

/** Entries between two looks at whether others are to have the event loop: what is at hand costs no turn of it. */
const LOOK_EVERY = 16
const NO_ROWS: BackendRows = {
  length: 0,
  keyAt: () => EMPTY_BYTES,
  recordAt: () => EMPTY_BYTES
}
const NOTHING: Page = { rows: NO_ROWS, length: 0 }
const DONE = { value: undefined, done: true } as const

/** A scan as the app sees it: entries one by one out of pages, of which the next one is fetched while one is consumed. */
export class PagedScan<T> implements Scan<T> {
  readonly #parts: ScanParts<T>
  #scan: BackendScan | undefined
  #page = NOTHING
  #at = 0
  /** Where the last entry lies that was handed out. */
  #lastRows: BackendRows | undefined
  #lastRow = 0
  /** How many entries may still be fetched. */
  #left: number
  #ahead: Promise<Page> | undefined
  #turning: Promise<void> | undefined
  #breath: Promise<void> | undefined
  #ended = false

  constructor(parts: ScanParts<T>) {
    this.#parts = parts
    this.#left = parts.limit
  }

  get token(): string | undefined {
    const rows = this.#lastRows
    return rows === undefined ? this.#parts.after : this.#parts.tokenOf(rows.keyAt(this.#lastRow))
  }

  next(): Promise<IteratorResult<T, undefined>> {
    if (this.#at >= this.#page.length || this.#ended) return this.#fromNext()
    // What is at hand costs one promise and no turn.
    const breath = this.#breathe()
    return breath === undefined ? this.#fromPage() : breath.then(() => this.next())
  }

  return(): Promise<IteratorResult<T, undefined>> {
    this.#end()
    return Promise.resolve(DONE)
  }

  async *pages(): AsyncGenerator<T[], undefined> {
    try {
      while (await this.#hasMore()) {
        const page = youngArray<T>()
        while (this.#at < this.#page.length) {
          const breath = this.#breathe()
          if (breath !== undefined) {
            await breath
            continue
          }
          const entry = this.#take()
          page.push(entry instanceof Promise ? await entry : entry)
        }
        if (page.length > 0) yield page
      }
      return undefined
    } finally {
      this.#end()
    }
  }

  async all(): Promise<T[]> {
    const all: T[] = []
    for await (const page of this.pages()) for (const entry of page) all.push(entry)
    return all
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#end()
  }

  /** What the next entry waits for, so that a page does not keep the event loop to itself, if it is anything. */
  #breathe(): Promise<void> | undefined {
    if (this.#breath !== undefined || this.#at % LOOK_EVERY !== 0) return this.#breath
    this.#breath = this.#scan?.breathe()?.finally(() => {
      this.#breath = undefined
    })
    return this.#breath
  }

  #fromPage(): Promise<IteratorResult<T, undefined>> {
    try {
      this.#throwIfAborted()
      const entry = this.#take()
      return entry instanceof Promise ? this.#later(entry) : Promise.resolve({ value: entry, done: false })
    } catch (error) {
      this.#end()
      return Promise.reject(error)
    }
  }

  async #later(entry: Promise<T>): Promise<IteratorResult<T, undefined>> {
    try {
      return { value: await entry, done: false }
    } catch (error) {
      this.#end()
      throw error
    }
  }

  async #fromNext(): Promise<IteratorResult<T, undefined>> {
    while (await this.#hasMore()) {
      // Somebody who waited for the page too may have taken all of it.
      if (this.#at < this.#page.length) return this.#fromPage()
    }
    return DONE
  }

  /** Whether there is another entry; if so it is in the page. */
  async #hasMore(): Promise<boolean> {
    while (this.#at >= this.#page.length) {
      if (this.#ended) return false
      // Whoever calls again before the last call is answered waits for the same page.
      this.#turning ??= this.#turn().finally(() => {
        this.#turning = undefined
      })
      await this.#turning
    }
    return !this.#ended
  }

  async #turn(): Promise<void> {
    try {
      this.#throwIfAborted()
      const page = await (this.#ahead ?? this.#fetch())
      this.#ahead = undefined
      if (this.#ended) return
      if (page.length === 0) return this.#end()
      this.#page = page
      this.#at = 0
      if (this.#left === 0) return
      this.#ahead = this.#fetch()
      // It is told when its turn has come.
      this.#ahead.catch(() => {})
    } catch (error) {
      const isWanted = !this.#ended
      this.#end()
      if (isWanted) throw error
    }
  }

  async #fetch(): Promise<Page> {
    if (this.#left === 0) return NOTHING
    this.#scan ??= this.#parts.open()
    const rows = await this.#scan.next(Math.min(this.#left, this.#parts.pageSize))
    const length = Math.min(rows.length, this.#left)
    this.#left -= length
    return { rows, length }
  }

  #take(): T | Promise<T> {
    const { rows } = this.#page
    const row = this.#at++
    // Also if it cannot be decoded: whoever goes on from here is to get past it.
    this.#lastRows = rows
    this.#lastRow = row
    return this.#parts.decode(rows, row)
  }

  #throwIfAborted(): void {
    const { signal } = this.#parts
    if (signal?.aborted === true) throw abortError(signal, 'a scan')
  }

  #end(): void {
    if (this.#ended) return
    this.#ended = true
    this.#page = NOTHING
    this.#at = 0
    this.#ahead = undefined
    this.#scan?.close()
  }
}
