import { abortError } from '../base/abort.ts'
import type { BackendScan } from './backend.ts'
import type { Scan } from './keyspace.ts'

/** What a page is made of. */
type Entry = Awaited<ReturnType<BackendScan['next']>>[number]

/** What a scan needs. */
export interface ScanParts<T> {
  /** Begins it; called once, when the first entry is asked for. */
  readonly open: () => BackendScan
  /** A promise only where something has to be waited for. */
  readonly decode: (entry: Entry) => T | Promise<T>
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
const NOTHING: readonly Entry[] = []
const DONE = { value: undefined, done: true } as const

/** A scan as the app sees it: entries one by one out of pages, of which the next one is fetched while one is consumed. */
export class PagedScan<T> implements Scan<T> {
  readonly #parts: ScanParts<T>
  #scan: BackendScan | undefined
  #page: readonly Entry[] = NOTHING
  #at = 0
  /** The last key that was handed out. */
  #last: Uint8Array | undefined
  /** How many entries may still be fetched. */
  #left: number
  #ahead: Promise<readonly Entry[]> | undefined
  #turning: Promise<void> | undefined
  #breath: Promise<void> | undefined
  #ended = false

  constructor(parts: ScanParts<T>) {
    this.#parts = parts
    this.#left = parts.limit
  }

  get token(): string | undefined {
    return this.#last === undefined ? this.#parts.after : this.#parts.tokenOf(this.#last)
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
        const page: T[] = []
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

  async #fetch(): Promise<readonly Entry[]> {
    if (this.#left === 0) return NOTHING
    this.#scan ??= this.#parts.open()
    const page = await this.#scan.next(Math.min(this.#left, this.#parts.pageSize))
    const wanted = page.length > this.#left ? page.slice(0, this.#left) : page
    this.#left -= wanted.length
    return wanted
  }

  #take(): T | Promise<T> {
    const entry = this.#page[this.#at++]!
    // Also if it cannot be decoded: whoever goes on from here is to get past it.
    this.#last = entry.key
    return this.#parts.decode(entry)
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
